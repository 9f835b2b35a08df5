/* The protocol of docs/delivery.md, from a claim that is sent to a claim that is settled, for Spin 6.5.
 * "make model" runs every case of check.sh, which stands beside this file; ../delivery.md says what the model
 * covers, and what it does not.
 *
 * Ids 0..N-1 are the derived claim ids of the clients' claims 0..N-1. Mutants that let one client's
 * claim take a second id (RANDOM_ID, SELECT_ONLY) use id k+N for it, so that M = 2N there.
 * Each proctype below is one actor for one id. Every actor may die between any two steps while the
 * budget of crashes lasts. Budgets: CR crashes, BL losses of the whole broker, PR restores of the payments
 * database, DR restores of the claims database, UC commits whose answer is lost. Two relays always
 * run at once. A receipt of payments is a hint, and is left out: nothing may depend on it.
 *
 * By hand, one case, with a budget of 1 for what is not named:
 *   spin -a -DN=1 -DCR=1 -DBL=1 -DPR=0 -DDR=0 -DUC=0 relay.pml
 *   safety:   gcc -O1 -DSAFETY -DNOCLAIM -DVECTORSZ=2048 -o pan pan.c && ./pan -noclaim -E -m1000000
 *   liveness: gcc -O1 -DNFAIR=3 -DVECTORSZ=2048 -o pan pan.c && ./pan -a -f -m1000000
 * A mutant: add -DSAME_MSGID, and so on, to spin; an error must be found, and spin -t -p shows it.
 * Mutants: SETTLE_ON_ACK NO_SWEEP NO_UNIQUE SAME_MSGID RANDOM_ID NO_HWM SELECT_ONLY TERM_NO_DLQ CURSOR NO_REPUBLISH
 */
#ifndef N
#define N 1
#endif
#if defined(RANDOM_ID) || defined(SELECT_ONLY)
#define M (2*N)
#define EFF(k) (eff[k] + eff[k+N])
#else
#define M N
#define EFF(k) (eff[k])
#endif
#ifndef CR
#define CR 1
#endif
#ifndef BL
#define BL 1
#endif
#ifndef PR
#define PR 1
#endif
#ifndef DR
#define DR 1
#endif
#ifndef UC
#define UC 1
#endif
#define none 0
#define pending 1
#define published 2
#define settled 3
#define dead 4
byte cs[M]; bit gen[M]; bit infl[M];   /* claims DB: outbox state, publish generation, COMMIT in flight */
byte cb[M]; bit gb[M];                 /* its backup */
byte st[M]; byte un[M]; byte dd[M];    /* broker: waiting copies, un-acked copies, dedupe (1+last gen) */
bit paid[M]; byte eff[M]; bit dl[M];   /* payments DB: row, times inserted, dead letter */
bit pb[M]; byte eb[M]; bit db[M];      /* its backup */
bit poison[N];
byte crash = CR, bloss = BL, prest = PR, drest = DR, unk = UC, cursor;
#define DIE(l) atomic { crash > 0 -> crash--; goto l }

proctype Client(byte k) {
  byte id = k;
submit:
  if
  :: atomic { cs[id] == none && !infl[id] -> cs[id] = pending; gen[id] = 0 }
  :: atomic { cs[id] == none && !infl[id] && unk > 0 -> unk--; infl[id] = 1 };
#ifdef SELECT_ONLY
     if :: atomic { cs[id] == none && id == k -> id = k + N; goto submit } :: atomic { cs[id] != none || id != k } fi
#else
     !infl[id]                        /* re-insert of the same key waits on the unique index */
#endif
  :: atomic { cs[id] != none }
  fi;
  atomic { cs[id] == none && !infl[id] ->          /* a restore lost it: sent again */
#ifdef RANDOM_ID
    if :: id == k -> id = k + N :: else fi;
#endif
    goto submit }
}
proctype InFlight(byte i) {            /* server end of a cut COMMIT: either outcome, at any later time */
end: do
  :: atomic { infl[i] -> infl[i] = 0; if :: cs[i] == none -> cs[i] = pending; gen[i] = 0 :: else fi }
  :: atomic { infl[i] -> infl[i] = 0 }
  od
}
proctype Relay(byte i) {
  bit g;
end:
#ifdef CURSOR
  atomic { cs[i] == pending && i >= cursor -> g = gen[i]; cursor = i + 1 };
#else
  atomic { cs[i] == pending -> g = gen[i] };
#endif
  if :: DIE(end) :: skip fi;
  atomic { if :: dd[i] == 1 + g            /* broker: duplicate, swallowed */
              :: else -> dd[i] = 1 + g; if :: st[i] + un[i] < 2 -> st[i]++ :: else fi fi };
  if :: DIE(end) :: skip fi;
  atomic { if :: cs[i] == pending && gen[i] == g ->
#ifdef SETTLE_ON_ACK
              cs[i] = settled
#else
              cs[i] = published
#endif
              :: else fi };
  g = 0; goto end
}
proctype Consumer(byte i) {
end:
  atomic { st[i] > 0 -> st[i]--; un[i]++ };
  atomic { if
    :: poison[i % N] ->
#ifdef TERM_NO_DLQ
       skip
#else
       dl[i] = 1
#endif
#ifdef NO_UNIQUE
    :: !poison[i % N] -> paid[i] = 1; eff[i]++; assert(EFF(i % N) <= 1)
#else
    :: !poison[i % N] && !paid[i] -> paid[i] = 1; eff[i]++; assert(EFF(i % N) <= 1)
    :: !poison[i % N] && paid[i]
#endif
    fi };
  if :: atomic { crash > 0 -> crash--; if :: un[i] > 0 -> un[i]--; st[i]++ :: else fi; goto end } :: skip fi;
  atomic { if :: un[i] > 0 -> un[i]-- :: else fi };
  goto end
}
proctype Sweep(byte i) {
end: do
  :: atomic { cs[i] == published && paid[i] -> cs[i] = settled }
  :: atomic { cs[i] == published && dl[i] -> cs[i] = dead }
#ifndef NO_REPUBLISH
  :: atomic { cs[i] == published && !paid[i] && !dl[i] ->
#ifndef SAME_MSGID
       gen[i] = 1 - gen[i];
#endif
       cs[i] = pending }
#endif
#ifndef NO_HWM
  :: atomic { cs[i] >= settled && !paid[i] && !dl[i] -> gen[i] = 1 - gen[i]; cs[i] = pending }
#endif
  od
}
proctype Faults() {
  byte i;
end: do
  :: atomic { prest > 0 -> for (i : 0 .. M-1) { pb[i] = paid[i]; eb[i] = eff[i]; db[i] = dl[i] }; i = 0 };
     atomic { prest--; for (i : 0 .. M-1) { paid[i] = pb[i]; eff[i] = eb[i]; dl[i] = db[i]; pb[i] = 0; eb[i] = 0; db[i] = 0 }; i = 0 }
  :: atomic { drest > 0 -> for (i : 0 .. M-1) { cb[i] = cs[i]; gb[i] = gen[i] }; i = 0 };
     atomic { drest--; for (i : 0 .. M-1) { cs[i] = cb[i]; gen[i] = gb[i]; infl[i] = 0; cb[i] = 0; gb[i] = 0 }; i = 0 }
  :: atomic { bloss > 0 -> bloss--; for (i : 0 .. M-1) { st[i] = 0; un[i] = 0; dd[i] = 0 }; i = 0 }
  :: break
  od
}
bit tick; active proctype Tick() { end: do :: tick = 1 - tick od }   /* keeps every run infinite, so a stuck run counts */
init { byte i; atomic {
  for (i : 0 .. N-1) { if :: poison[i] = 0 :: poison[i] = 1 fi; run Client(i) }
  for (i : 0 .. M-1) { run InFlight(i); run Relay(i); run Relay(i); run Consumer(i);
#ifndef NO_SWEEP
    run Sweep(i)
#endif
  }
  run Faults(); i = 0 } }

#define DONE(k) ((cs[k]==settled && paid[k] && !dl[k]) || (cs[k]==dead && dl[k] && !paid[k]))
#if M > N
#define OK(k) (DONE(k) || DONE(k+N))
#else
#define OK(k) DONE(k)
#endif
#if N == 1
ltl live { <>[] OK(0) }
#else
ltl live { <>[] (OK(0) && OK(1)) }
#endif
