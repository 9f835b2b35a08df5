package claim

// Field names one of the ten fields of a line.
type Field int

// The fields of a line, in the order in which the brief lists them.
const (
	ServiceDateField Field = iota
	ProcedureField
	QuadrantField
	PlanGroupField
	SubscriberField
	ProviderNPIField
	ProviderFeesField
	AllowedFeesField
	CoinsuranceField
	CopayField
	FieldCount int = iota

	// NoField stands for a line, or a claim, as a whole.
	NoField Field = -1
	// ExternalIDField is the sender's claim number: of the claim, not of a line.
	ExternalIDField Field = -2
)

var fieldNames = [FieldCount]string{
	"service_date", "submitted_procedure", "quadrant", "plan_group_number", "subscriber_number",
	"provider_npi", "provider_fees", "allowed_fees", "member_coinsurance", "member_copay",
}

// String gives the field's canonical name on the wire, such as "provider_npi";
// "" for NoField.
func (f Field) String() string {
	switch {
	case f >= 0 && int(f) < FieldCount:
		return fieldNames[f]
	case f == ExternalIDField:
		return "external_claim_id"
	default:
		return ""
	}
}

// IsPHI tells whether the field's value must not leave the claim itself.
func (f Field) IsPHI() bool {
	return f == SubscriberField || f == ServiceDateField
}

// FieldNamed finds a field by its canonical name.
func FieldNamed(name string) (Field, bool) {
	for i, known := range fieldNames {
		if known == name {
			return Field(i), true
		}
	}
	return NoField, false
}

// Shape is the kind of value that stood in the input.
type Shape uint8

// What a reader can find in the place of a value.
const (
	Absent   Shape = iota // no such field
	Null                  // JSON null
	Text                  // a string, or a CSV cell
	Number                // a JSON number; Raw.Text holds its digits as sent
	Bool                  // true or false
	List                  // a JSON array
	Object                // a JSON object
	Repeated              // the name stood twice in the line
)

// Raw is one value as a reader found it, not judged yet. The zero value is Absent.
type Raw struct {
	Shape Shape
	Text  string // of Text, Number and Bool
}

// RawLine is one line as a reader found it. Shape is Object for anything that
// has fields; other shapes are refused as a whole.
type RawLine struct {
	Shape  Shape
	Fields [FieldCount]Raw
}

// Draft is a claim as a reader found it, with the names that its sender gave it.
type Draft struct {
	Submitter      string // empty: DefaultSubmitter
	ExternalID     Raw    // the sender's claim number
	IdempotencyKey string
	Source         Source // the file that it came from, if any
	// Given is a key that the reader made of more than the fields above; its Submitter does not
	// count. Without a Kind there is none.
	Given Key
	Lines []RawLine
	// Warnings is what the reader wants to be stored with the claim beside what Validate
	// finds: what the format left open, and how it was read. Severity Warning only.
	Warnings []Violation
}

// Source is the place of a claim in a file: the file's SHA-256 in hex and the
// number of the claim's first row, counted from 1 behind the header.
type Source struct {
	FileSHA256 string
	Row        int
}
