package claim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// DefaultSubmitter stands for everybody, as long as no access keys name one.
const DefaultSubmitter = "default"

// KeyKind tells what the sender's key of a claim was.
type KeyKind string

// Kinds of key. A key that the reader gives goes before all others; then, in this order,
// the first that a claim has is its key.
const (
	NoKey          KeyKind = ""            // none: the id is random, and a repeat is another claim
	ExternalKey    KeyKind = "external"    // external claim id or claim number
	IdempotencyKey KeyKind = "idempotency" // Idempotency-Key header
	FileKey        KeyKind = "file"        // SHA-256 of the import file, and the row

	// X12Key is given by the reader of X12: sender, control numbers and claim number, for
	// a claim number alone is unique only with the provider who made it up.
	X12Key KeyKind = "x12"
	// IDKey is given by the reader of an export, for a claim that had no key: its id
	// itself, a UUIDv7, so that what comes back is known again.
	IDKey KeyKind = "id"
)

// given tells whether a reader may give a key of the kind.
func (k KeyKind) given() bool {
	switch k {
	case ExternalKey, IdempotencyKey, FileKey, X12Key, IDKey:
		return true
	default:
		return false
	}
}

// Key is a sender's name of a claim. The same key always means the same claim.
type Key struct {
	Submitter string
	Kind      KeyKind
	Value     string // empty when Kind is NoKey
}

// key picks the draft's key.
func (d *Draft) key(externalID string) Key {
	k := Key{Submitter: d.Submitter}
	if k.Submitter == "" {
		k.Submitter = DefaultSubmitter
	}
	switch {
	case d.Given.Kind != NoKey:
		k.Kind, k.Value = d.Given.Kind, d.Given.Value
	case externalID != "":
		k.Kind, k.Value = ExternalKey, externalID
	case d.IdempotencyKey != "":
		k.Kind, k.Value = IdempotencyKey, d.IdempotencyKey
	case d.Source.FileSHA256 != "":
		k.Kind, k.Value = FileKey, d.Source.FileSHA256+":"+strconv.Itoa(d.Source.Row)
	}
	return k
}

// NamedBySource tells whether a claim has no other name than its place in a file.
func (d *Draft) NamedBySource() bool {
	number := d.ExternalID
	unnumbered := number.Shape == Absent || number.Shape == Null || number.Shape == Text && strings.TrimSpace(number.Text) == ""
	return unnumbered && d.Given.Kind == NoKey && d.IdempotencyKey == "" && d.Source.FileSHA256 != ""
}

// Text gives the key as an export carries it with the claim of that id: "KIND:VALUE", and
// for a claim that had no key its id as an IDKey. It is empty where the claim number is
// the key: that stands in the export anyway.
func (k Key) Text(id uuid.UUID) string {
	switch k.Kind {
	case ExternalKey:
		return ""
	case NoKey:
		return string(IDKey) + ":" + id.String()
	default:
		return string(k.Kind) + ":" + k.Value
	}
}

// ParseKey reads what Text gave, for Draft.Given. Whether it is the key of a claim is for
// Validate to say.
func ParseKey(text string) Key {
	kind, value, _ := strings.Cut(text, ":")
	if kind == "" && text != "" {
		kind = "unknown" // no KeyKind, so that Validate refuses it
	}
	return Key{Kind: KeyKind(kind), Value: value}
}

// IdentitySecretSize is the size of Identity's secret, in bytes.
const IdentitySecretSize = 32

// Identity derives claim ids. Its secret is made once, with the claims
// database, and kept with it: another secret gives other ids to the same keys.
type Identity struct{ secret [IdentitySecretSize]byte }

// NewIdentity takes the secret that the claims database keeps.
func NewIdentity(secret [IdentitySecretSize]byte) Identity { return Identity{secret} }

// ClaimID gives the id of a claim known by key: a UUIDv8 (RFC 9562) made of the
// first 122 bits of HMAC-SHA-256 over submitter, kind and value, each behind its
// length. Without a key it is a new UUIDv7, and an IDKey is the id itself.
func (i Identity) ClaimID(key Key) uuid.UUID {
	switch key.Kind {
	case NoKey:
		return uuid.Must(uuid.NewV7()) // fails only where the system has no randomness
	case IDKey:
		if id, ok := randomID(key.Value); ok {
			return id
		}
	}
	mac := hmac.New(sha256.New, i.secret[:])
	for _, part := range []string{key.Submitter, string(key.Kind), key.Value} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		mac.Write(size[:])
		mac.Write([]byte(part))
	}
	var id uuid.UUID
	copy(id[:], mac.Sum(nil))
	id[6] = id[6]&0x0f | 0x80 // version 8
	id[8] = id[8]&0x3f | 0x80 // variant RFC 9562
	return id
}

// randomID reads the id of a claim that had no key, in the one form in which it is written.
func randomID(text string) (uuid.UUID, bool) {
	id, err := uuid.Parse(text)
	return id, err == nil && id.String() == text && id.Version() == 7 && id.Variant() == uuid.RFC4122
}

// Fingerprint is a SHA-256 over what a claim says: its lines, in order, every
// field in its canonical form. It is kept beside PHI and never leaves there.
type Fingerprint [sha256.Size]byte

// fingerprint hashes the lines. Each text stands behind its length, so that no
// two different claims give the same bytes.
func fingerprint(lines []Line) Fingerprint {
	buffer := make([]byte, 0, 128*len(lines))
	for i := range lines {
		l := &lines[i]
		buffer = binary.AppendVarint(buffer, l.ServiceDate.seconds)
		for _, text := range [...]string{l.Procedure, l.Quadrant, l.PlanGroupNumber, l.SubscriberNumber.text} {
			buffer = binary.AppendUvarint(buffer, uint64(len(text)))
			buffer = append(buffer, text...)
		}
		buffer = binary.AppendVarint(buffer, int64(l.ProviderNPI))
		buffer = binary.AppendVarint(buffer, int64(l.ProviderFees))
		buffer = binary.AppendVarint(buffer, int64(l.AllowedFees))
		buffer = binary.AppendVarint(buffer, int64(l.MemberCoinsurance))
		buffer = binary.AppendVarint(buffer, int64(l.MemberCopay))
	}
	return sha256.Sum256(buffer)
}
