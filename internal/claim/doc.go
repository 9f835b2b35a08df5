// Package claim is the domain: what a dental claim is, when it is right, what
// it nets, and by what name it is known for ever. It reads no bytes, opens no
// database and knows no clock; every other station is built on it.
//
// Glossary, in the words of the field:
//
//   - Claim: one request for payment, of one or more lines, by one submitter.
//   - Line: one procedure done for one member on one day, with its amounts.
//   - Provider NPI: the National Provider Identifier of who did the work; ten
//     digits, the last a check digit (Luhn over the prefix 80840). Public.
//   - Subscriber number: the member's number with the plan. PHI.
//   - Service date: when the work was done; it carries no zone. PHI.
//   - Plan group number: the employer's or group's number with the plan.
//   - Procedure: a CDT code, D and four digits. Only the pattern is known here;
//     the code list is under copyright and not part of this program.
//   - Quadrant: the area of the oral cavity: UR (10), UL (20), LL (30), LR (40),
//     00 whole mouth, 01 upper arch, 02 lower arch.
//   - Provider fees: what the provider bills. Allowed fees: what the plan's
//     contract allows for it. Member coinsurance and copay: the member's part.
//   - Net fee: provider fees + member coinsurance + member copay - allowed fees.
//     It can be negative, and is never clamped. In terms of an X12 835 it is what
//     the plan does not pay: CO-45 + PR-2 + PR-3.
//   - Expected plan payment: allowed fees - member coinsurance - member copay.
//   - Submitter: who sent the claim; "default" as long as there are no access keys.
//   - Key: the sender's own name of a claim, from which its id is derived.
//   - Fingerprint: a hash of what the claim says, to tell a repeat from another
//     claim under the same key.
//   - PHI: protected health information. Types that hold it print as [phi].
package claim
