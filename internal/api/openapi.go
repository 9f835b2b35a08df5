package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// LineInput is a line as a client sends it. It stands in the specification only: package
// intake reads it.
type LineInput struct {
	ServiceDate        string        `json:"service_date" doc:"MM/DD/YY HH:MM, padded or not, or ISO 8601 without a zone" example:"3/28/18 0:00"`
	SubmittedProcedure string        `json:"submitted_procedure" doc:"starts with D" example:"D4346"`
	Quadrant           *string       `json:"quadrant,omitempty" nullable:"true" example:"UR"`
	PlanGroupNumber    string        `json:"plan_group_number" example:"GRP-1000"`
	SubscriberNumber   textOrInteger `json:"subscriber_number" doc:"protected health information"`
	ProviderNPI        textOrInteger `json:"provider_npi" doc:"exactly ten digits"`
	ProviderFees       amountInput   `json:"provider_fees"`
	AllowedFees        amountInput   `json:"allowed_fees"`
	MemberCoinsurance  amountInput   `json:"member_coinsurance"`
	MemberCopay        amountInput   `json:"member_copay"`
}

// ClaimInput is a claim as a client sends it to /v1/claims. It stands in the specification
// only.
type ClaimInput struct {
	ExternalClaimID *string     `json:"external_claim_id,omitempty" nullable:"true" maxLength:"128" doc:"your claim number; the claim's identity" example:"CLM-1234"`
	Lines           []LineInput `json:"lines" minItems:"1" maxItems:"999"`
}

// textOrInteger is a string or an integer of the same digits.
type textOrInteger struct{}

// Schema implements huma.SchemaProvider.
func (textOrInteger) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{{Type: huma.TypeString}, {Type: huma.TypeInteger}}, Examples: []any{"1497775530"}}
}

// amountInput is an amount as people write it, or a number.
type amountInput struct{}

// Schema implements huma.SchemaProvider.
func (amountInput) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "US dollars, such as $1,234.50 or 1234.5; at most two decimals, not negative",
		OneOf:       []*huma.Schema{{Type: huma.TypeString}, {Type: huma.TypeNumber}}, Examples: []any{"$16.25"},
	}
}

// exampleLines is the brief's claim: its net fees are 0.00, 0.00, 81.25 and 35.60.
func exampleLines() []map[string]any {
	line := func(procedure string, quadrant any, fees, allowed, coinsurance string) map[string]any {
		return map[string]any{
			"service_date": "3/28/18 0:00", "submitted_procedure": procedure, "quadrant": quadrant, "plan_group_number": "GRP-1000",
			"subscriber_number": "3730189502", "provider_npi": "1497775530", "provider_fees": fees, "allowed_fees": allowed,
			"member_coinsurance": coinsurance, "member_copay": "$0.00",
		}
	}
	return []map[string]any{
		line("D0180", nil, "$100.00", "$100.00", "$0.00"),
		line("D0210", nil, "$108.00", "$108.00", "$0.00"),
		line("D4346", nil, "$130.00", "$65.00", "$16.25"),
		line("D4211", "UR", "$178.00", "$178.00", "$35.60"),
	}
}

func exampleClaim() map[string]any {
	return map[string]any{"external_claim_id": "CLM-1234", "lines": exampleLines()}
}

// content is a body in the specification, by a value of its type.
type content struct {
	text    string
	body    any
	example any
	media   []string // what a file may be; empty: JSON
}

// specification gives the OpenAPI document of the routes, as JSON. Types and routes are
// what it is made of; nothing is written down twice.
func specification(routes []route, version string) []byte {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	spec := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Claimrail", Version: version,
			Description: "Dental claims in, payments out, nothing lost in between. Amounts are US dollars as decimal strings; " +
				"times are UTC. A claim is acknowledged only when it is committed, and is paid exactly once.",
			License: &huma.License{Name: "Apache-2.0"},
		},
		Tags: []*huma.Tag{
			{Name: "brief", Description: "The endpoints of the service that this one replaces"},
			{Name: "claims", Description: "Claims and how they stand"},
			{Name: "imports", Description: "Files of claims"},
			{Name: "payments", Description: "Payments, and what could not be paid"},
			{Name: "operation", Description: "For whoever runs it"},
		},
		Components: &huma.Components{Schemas: registry},
	}
	for i := range routes {
		spec.AddOperation(routes[i].operation(registry))
	}
	text, err := json.Marshal(spec)
	if err != nil {
		panic(err) // the routes are at fault; see New
	}
	return text
}

// operation describes the route.
func (rt *route) operation(registry huma.Registry) *huma.Operation {
	operation := &huma.Operation{
		Method: rt.method, Path: rt.path, OperationID: rt.id, Tags: []string{rt.tag}, Summary: rt.summary,
		Description: rt.description, Responses: make(map[string]*huma.Response),
	}
	for i := range rt.params {
		operation.Parameters = append(operation.Parameters, rt.params[i].describe())
	}
	if rt.request != nil {
		operation.RequestBody = &huma.RequestBody{
			Required: true, Content: rt.request.describeMedia(registry),
		}
	}
	for status, answer := range rt.answers {
		operation.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: answer.text, Content: answer.describeMedia(registry),
		}
	}
	kind, fault := "application/problem+json", content{body: Problem{}}
	if rt.brief {
		kind, fault = "application/json", content{body: BriefFault{}}
	}
	statuses := slices.Clone(rt.faults)
	if rt.request != nil {
		statuses = append(statuses, http.StatusRequestTimeout)
	}
	if rt.method != http.MethodGet {
		statuses = append(statuses, http.StatusForbidden)
	}
	if !rt.open {
		statuses = append(statuses, http.StatusMisdirectedRequest, http.StatusInternalServerError, http.StatusServiceUnavailable)
	}
	for _, status := range statuses {
		operation.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status), Content: map[string]*huma.MediaType{kind: fault.describe(registry)},
			Headers: faultHeaders(status),
		}
	}
	return operation
}

func faultHeaders(status int) map[string]*huma.Param {
	names := map[string]string{}
	switch status {
	case http.StatusTooManyRequests:
		names["Retry-After"] = "seconds until a request is allowed again"
		names["RateLimit-Limit"] = "requests allowed in any 60 seconds"
		names["RateLimit-Remaining"] = "how many are left"
		names["RateLimit-Reset"] = "seconds until all are allowed again"
	case http.StatusServiceUnavailable:
		names["Retry-After"] = "seconds to wait"
	}
	headers := make(map[string]*huma.Param)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		headers[name] = &huma.Param{Description: names[name], Schema: &huma.Schema{Type: huma.TypeInteger}}
	}
	return headers
}

// describeMedia describes JSON, or a file in each of the forms that it may have.
func (c *content) describeMedia(registry huma.Registry) map[string]*huma.MediaType {
	if len(c.media) == 0 {
		return map[string]*huma.MediaType{"application/json": c.describe(registry)}
	}
	file := &huma.Schema{Type: huma.TypeString}
	forms := make(map[string]*huma.MediaType)
	for _, kind := range c.media {
		if kind == formType {
			forms[kind] = &huma.MediaType{Schema: &huma.Schema{
				Type: huma.TypeObject, Properties: map[string]*huma.Schema{"file": {Type: huma.TypeString, Format: "binary"}}, Required: []string{"file"},
			}}
			continue
		}
		forms[kind] = &huma.MediaType{Schema: file}
	}
	return forms
}

func (c *content) describe(registry huma.Registry) *huma.MediaType {
	return &huma.MediaType{Schema: registry.Schema(reflect.TypeOf(c.body), true, ""), Example: c.example}
}

func (p *param) describe() *huma.Param {
	schema := &huma.Schema{Type: huma.TypeString, Format: p.format}
	if p.kind != "" {
		schema.Type = p.kind
	}
	for _, word := range p.oneOf {
		schema.Enum = append(schema.Enum, word)
	}
	if p.least != 0 || p.most != 0 {
		least, most := float64(p.least), float64(p.most)
		schema.Minimum, schema.Maximum = &least, &most
	}
	return &huma.Param{Name: p.name, In: p.in, Description: p.text, Required: p.in == inPath, Schema: schema, Example: p.example}
}
