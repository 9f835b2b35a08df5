package main

import "slices"

// allRows is the table, in the order of docs/benchmarks.md.
func allRows() []row {
	return slices.Concat(lineRows(), bulkRows(), boundRows())
}

// lineRows are those of single claims, from the door to the ledger.
func lineRows() []row {
	return []row{
		{
			name: "accept", unit: "claims/s", open: openAccept,
			what:   "POST /claim-process, 256 connections, 4-line claims, Postgres, accept only, against the FastAPI reference (32 connections) and a bare handler",
			target: ">= 40 x the reference, >= 0.33 x the bare handler",
		},
		{
			name: "accept-sqlite", unit: "claims/s", open: openAcceptSQLite,
			what:   "the same on the embedded default, the whole line running, against Postgres with the whole line running",
			target: ">= 1 x the Postgres figure",
		},
		{
			name: "latency", unit: "us", open: openLatency,
			what:   "one connection, p50 of a 4-line claim, against a bare transaction of the same rows",
			target: "<= 1.3 x the bare transaction",
		},
		{
			name: "line", unit: "claims/s", open: openLine,
			what:   "claims settled while claims come in over 256 connections, whole line on the same 2 cores, against accept only",
			target: ">= 0.5 x accept only, the outbox not growing",
		},
		{
			name: "drain", unit: "claims/s", open: openDrain,
			what:   "draining committed claims to recorded and settled, against River working one payment row a job",
			target: ">= 20,000 claims/s, >= 4 x River",
		},
		{
			name: "idle", unit: "us", open: openIdle,
			what:   "claim accepted to payment recorded, idle system, p99, against one commit",
			target: "<= 10 x one commit",
		},
	}
}

// bulkRows are those of files.
func bulkRows() []row {
	return []row{
		{
			name: "import", unit: "lines/s", open: openImport,
			what:   "import of 1,000,000 CSV lines into Postgres, against psql \\copy of the same rows into the same tables",
			target: ">= 0.8 x \\copy",
		},
		{
			name: "import-sqlite", unit: "lines/s", open: openImportSQLite,
			what:   "the same into SQLite, against prepared inserts of the lines alone",
			target: ">= 150,000 lines/s, >= 0.5 x prepared inserts",
		},
		{
			name: "memory", unit: "MB", open: openMemory,
			what:   "peak resident memory of an import of 1 GB, against one of 10 MB",
			target: "<= 150 MB, within 20 %",
		},
	}
}

// boundRows are those of what must stay as it is, however much is stored or asked for.
func boundRows() []row {
	return []row{
		{
			name: "top", unit: "us", open: openTop,
			what:   "GET /top-providers service time with 1,000,000 lines, against 10,000 lines, and against SUM .. GROUP BY",
			target: "<= 1.2 x that at 10,000 lines; >= 500 x faster than SUM .. GROUP BY",
		},
		{
			name: "start", unit: "ms", open: openStart,
			what:   "start to ready, empty embedded default",
			target: "< 300 ms",
		},
		{
			name: "overload", unit: "claims/s", open: openOverload,
			what:   "claims stored per second under 2,560 connections that come back at once whatever they are told, against the peak at 256; beside them one claim every 20 ms, whenever the answers come, tells how long an accepted one takes",
			target: ">= 0.9 x the peak; p99 of what is accepted <= 500 ms; every refusal with Retry-After; back to normal within 10 s",
		},
		{
			name: "cost", unit: "us", open: openCost,
			what:   "processor time of a claim of 4 lines, server and Postgres, and what else it takes of each part",
			target: "none: docs/scaling.md reckons with it",
		},
		{
			name: "verify", unit: "s", open: openVerify, long: true,
			what:   "claimrail verify of 10 million lines, all of them paid, on Postgres, against one reading of the lines and of the payments by the database itself",
			target: "< 120 s",
		},
		{
			name: "growth", unit: "lines/s", open: openGrowth, long: true,
			what:   "ingest rate with 50 million lines stored (-grow sets another size), against an empty store",
			target: ">= 0.8 x",
		},
	}
}
