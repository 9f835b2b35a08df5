//go:build plant

package planted_test

// bugs are the bugs, in the order of the line.
func bugs() []bug {
	return append(append(bugsOfClaims(), bugsOfTheOutbox()...), bugsOfPayments()...)
}

// The engine over SQLite stands for both: the contract that catches a bug is the same.
const (
	engine   = "internal/store/sqlitestore"
	ledger   = "internal/payment/sqliteledger"
	contract = "TestContract/"
	books    = "TestLedger/"
)

// The simulation catches what it can reach: what the code of delivery does wrong, and what its
// databases would. Those are simulated, so a bug of a database is made in the simulated one as well.
const (
	simulation = "internal/simulate"
	seeds      = "TestSeeds"
)

// between ends the transaction and begins another: what comes behind it is outside.
const between = "\tfor _, end := range []string{\"COMMIT\", \"BEGIN\"} {\n" +
	"\t\tif _, err := tx.ExecContext(ctx, end); err != nil {\n\t\t\treturn err\n\t\t}\n\t}\n"

// looking asks the engine whether the claims of a commit in doubt are there, and takes its answer for
// the outcome. Nothing is accepted again, unless the engine does not answer.
const looking = `	var there []Outcome
	engine := c.engine.(interface {
		Claim(context.Context, uuid.UUID) (Record, error)
	})
	for i := range batch {
		record, failure := engine.Claim(doubting, batch[i].Claim.ID)
		if errors.Is(failure, ErrNotFound) {
			return nil, true, fmt.Errorf("looked, and it is not there: %w", ErrUnavailable)
		}
		if failure == nil {
			there = append(there, Outcome{FirstLineID: record.FirstLineID, ReceivedAt: record.ReceivedAt})
		}
	}
	if len(there) == len(batch) {
		return there, true, nil
	}
`

// bugsOfClaims are made up to the commit of a claim.
func bugsOfClaims() []bug {
	return []bug{
		{
			name: "float money", harm: "sums are off by cents",
			edits:  []edit{{"internal/money/money.go", "\treturn c + d, nil\n", "\treturn Cents((float64(c)/100 + float64(d)/100) * 100), nil\n"}},
			caught: []check{{"internal/money", "TestSumNeverWraps"}, {engine, contract + "totals/exact for any claims"}},
		},
		{
			name: "random claim ids", harm: "a claim that is sent again is another claim, and paid again",
			edits: []edit{{
				"internal/claim/identity.go", "\tcase NoKey:\n\t\treturn uuid.Must", "\tcase NoKey, ExternalKey, IdempotencyKey, FileKey:\n\t\treturn uuid.Must",
			}},
			caught: []check{{"internal/claim", "TestClaimID"}},
		},
		{
			name: "totals outside the transaction", harm: "a claim is stored, and its provider's total is not",
			edits:  []edit{{engine + "/accept.go", "\tif err := s.accept.totals.run(ctx, tx, totals); err != nil {\n", between + "\tif err := s.accept.totals.run(ctx, tx, totals); err != nil {\n"}},
			caught: []check{{engine, contract + "totals/a total that does not fit"}},
		},
		{
			name: "outbox row outside the transaction", harm: "a claim is stored, and nobody will pay it",
			edits:  []edit{{engine + "/accept.go", "\tif err := s.accept.messages.run(ctx, tx, rows.messages); err != nil {\n", between + "\tif err := s.accept.messages.run(ctx, tx, rows.messages); err != nil {\n"}},
			caught: []check{{engine, contract + "imported claims/not of an import that does not run"}},
		},
		{
			name: "looking instead of inserting, after a commit in doubt", harm: "a commit in flight is not seen, and a claim that is stored a moment later is refused",
			edits: []edit{{
				"internal/store/committer.go",
				"\tdoubting, cancel := context.WithTimeout(ctx, doubtTimeout)\n\tdefer cancel()\n\tfor {\n",
				"\tdoubting, cancel := context.WithTimeout(ctx, doubtTimeout)\n\tdefer cancel()\n" + looking + "\tfor {\n",
			}},
			caught: []check{{"internal/store", "TestCommitterCommitInFlight"}, {"internal/store", "TestCommitterUnknownOutcome"}, {simulation, seeds}},
		},
		{
			name: "synchronous=NORMAL", harm: "a power cut takes acknowledged claims back",
			edits: []edit{
				{"internal/sqlitefile/sqlitefile.go", `settings.Set("_synchronous", "FULL")`, `settings.Set("_synchronous", "NORMAL")`},
				{"internal/sqlitefile/schema.go", "const synchronousFull = 2", "const synchronousFull = 1"},
			},
			caught: []check{{"internal/sqlitefile", "TestSettingsOfEveryConnection"}},
		},
	}
}

// bugsOfTheOutbox are made between the commit and the broker, and on the way back.
func bugsOfTheOutbox() []bug {
	return []bug{
		{
			name: "settle on broker ack", harm: "what the broker loses is settled without a payment",
			edits: []edit{{
				"internal/outbox/relay.go",
				"\t\tchange.Move = MarkPublished\n",
				"\t\tchange.Move, change.Paid = Settle, event.Standing{Key: row.Key, State: event.Paid, NetFee: row.NetFee, RecordedAt: now}\n",
			}},
			caught: []check{{"internal/outbox", "TestRelayNeverSettlesOnAck"}, {"internal/outbox", "TestEveryClaimIsSettledByItsPayment"}, {simulation, seeds}},
		},
		{
			name: "cursor relay", harm: "a row that is committed behind what was read already is never read",
			edits: []edit{{
				"internal/outbox/relay.go", "at: r.front.start(now), known: known}", "at: r.pass.at, known: known}",
			}},
			caught: []check{{"internal/outbox", "TestRelayFindsLateRows"}, {simulation, seeds}},
		},
		{
			name: "MaxDeliver=5", harm: "the broker drops what payments could not take five times, and says nothing",
			edits: []edit{
				{"internal/broker/stream.go", "wanted.MaxDeliver = -1", "wanted.MaxDeliver = 5"},
				{"internal/simulate/stream_test.go", "\t\t\tcase e.answered:\n", "\t\t\tcase e.answered || e.deliveries >= 5:\n"},
			},
			caught: []check{{"internal/broker", "TestMaxDeliverIsEndless"}, {simulation, seeds}},
		},
		{
			name: "a consumer ahead of its stream is left so", harm: "what comes after a power cut is passed over, until the stream is as long as before",
			edits: []edit{{
				"internal/broker/ahead.go", "\tcase now.Sub(a.since) >= aheadFor:\n\t\ta.delivered = 0\n\t\treturn true\n", "",
			}},
			caught: []check{{"internal/broker", "TestConsumerAheadOfItsStream"}, {simulation, seeds}},
		},
		{
			name: "same message id on redrive", harm: "the broker takes the repeat for what it has, and drops it",
			edits: []edit{
				{engine + "/outbox.go", "due_at = ?, gen = gen + 1, attempts = 0", "due_at = ?, gen = gen, attempts = 0"},
				{"internal/simulate/claims_test.go", "\t\trow.Gen++\n", ""},
			},
			caught: []check{{engine, contract + "outbox/resend"}, {simulation, seeds}},
		},
		{
			name: "receipt believed without amount check", harm: "a claim is settled by a payment of another amount",
			edits: []edit{
				{engine + "/outbox.go", "\tif netFee != int64(change.Paid.NetFee) {\n", "\tif netFee != netFee {\n"},
				{"internal/simulate/claims_test.go", "\tif k.row.NetFee != change.Paid.NetFee {\n", "\tif false {\n"},
			},
			caught: []check{{engine, contract + "outbox/settle with another amount"}, {simulation, seeds}},
		},
	}
}

// bugsOfPayments are made behind the broker.
func bugsOfPayments() []bug {
	return []bug{
		{
			name: "ack before commit, without sweep", harm: "what payments could not commit is gone, and nobody asks",
			edits: []edit{
				{"internal/payment/round.go", "\tvar verdicts []Verdict\n\terr := guard(", "\tfor _, m := range messages {\n\t\tr.answer(m, m.Reply.Ack())\n\t}\n\tvar verdicts []Verdict\n\terr := guard("},
				{"internal/outbox/sweep.go", "\t\tfor more := true; more && ctx.Err() == nil; {\n", "\t\tfor more := false; more && ctx.Err() == nil; {\n"},
			},
			caught: []check{{"internal/payment", "TestConsumeWaitsWhileLedgerIsAway"}, {"internal/outbox", "TestSweepEmptiesABacklogAtOnce"}, {simulation, seeds}},
		},
		{
			name: "no UNIQUE on payments", harm: "a message that comes twice is paid twice",
			edits: []edit{
				{
					ledger + "/migrations/00001_ledger.sql",
					"recorded_at   INTEGER NOT NULL,\n    UNIQUE (claim_id, version) -- a claim is paid once, whatever is sent\n",
					"recorded_at   INTEGER NOT NULL\n",
				},
				{ledger + "/record.go", "\nON CONFLICT (claim_id, version) DO NOTHING`", "`"},
				{"internal/simulate/ledger_test.go", "\tif at, found := l.paid[message.Key]; found {\n\t\tif", "\tif at, found := l.paid[message.Key]; found && false {\n\t\tif"},
			},
			caught: []check{{"internal/payment", "TestConsumePaysOnceWhateverIsReplayed"}, {ledger, books + "a repeat changes nothing"}, {simulation, seeds}},
		},
		{
			name: "Term before the dead letter is stored", harm: "what can not be parked is gone",
			edits: []edit{
				{
					"internal/payment/round.go", "\terr := guard(func() error { return r.Ledger.Park(ctx, letter) })\n",
					"\tr.answer(m, m.Reply.Term())\n\terr := guard(func() error { return r.Ledger.Park(ctx, letter) })\n",
				},
				{"internal/payment/round.go", "\tr.answer(m, m.Reply.Term())\n\treturn nil\n", "\treturn nil\n"},
			},
			caught: []check{{"internal/payment", "TestConsumeNeverGivesUpWhatIsNotParked"}, {simulation, seeds}},
		},
		{
			name: "discard without tombstone", harm: "a stale copy pays a claim that was written off",
			edits: []edit{
				{ledger + "/letter.go", "\t\t\tif letter.ClaimID == uuid.Nil {\n\t\t\t\treturn nil\n\t\t\t}\n\t\t\tconst query = `\nINSERT INTO tombstones", "\t\t\tif true {\n\t\t\t\treturn nil\n\t\t\t}\n\t\t\tconst query = `\nINSERT INTO tombstones"},
				{"internal/simulate/ledger_test.go", "\t\t\t\tl.tombstones[letter.Key] = noted(decision)\n", "\t\t\t\t_ = decision\n"},
			},
			caught: []check{{ledger, books + "discarding keeps every later copy from being paid"}, {"internal/payment", "TestConsumeStaleCopyAfterDiscard"}, {simulation, seeds}},
		},
	}
}
