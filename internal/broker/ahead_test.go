package broker_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/broker"
	"github.com/claimrail/claimrail/internal/event"
)

// After a power cut the stream has lost what the consumer had answered, and the consumer's own file is
// cut off as well, so that it is made again and finds the state of the one before. Nothing of what has
// come since counts as answered, and all of it arrives, though it takes the places of what is lost.
func TestConsumerAheadOfItsStream(t *testing.T) {
	t.Parallel()
	b := setup(t, broker.Config{})
	b.publish(claims(1, 100)...)
	b.ack(b.fetch(100)...)
	b.progress(100, 100)
	b.close()
	stream := filepath.Join(b.config.Dir, "jetstream", "$G", "streams", "CLAIMRAIL_CLAIMS")
	empty(t, filepath.Join(stream, "msgs"))
	if err := os.Truncate(filepath.Join(stream, "obs", "payments", "meta.inf"), 0); err != nil {
		t.Fatal(err)
	}
	b.open()
	b.publish(claims(1000, 20)...)
	if floor, last, err := b.Progress(t.Context()); floor != 0 || last != 20 || err != nil {
		t.Errorf("before anything arrived: got %d of %d, %v, want 0 of 20", floor, last, err)
	}
	got := b.arrive(20)
	b.ack(got...)
	same(t, "messages", idsOf(got), ids(claims(1000, 20)...))
	b.progress(20, 20)
}

// Of a cluster whose servers all lose the end of the stream, but not the state of its consumer, new
// messages arrive as well.
func TestClusterConsumerAheadOfItsStream(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	b := dial(t, c.config(), slog.New(slog.DiscardHandler))
	b.connected()
	b.stream(3)
	b.flow(claims(1, 50))
	kept := map[string]string{} // copies by the folders that are copied
	c.restart(func() {
		for i := range c.options {
			for _, folder := range streamFolders(t, c.options[i].StoreDir) {
				kept[folder] = filepath.Join(t.TempDir(), "copy")
				if err := os.CopyFS(kept[folder], os.DirFS(folder)); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	b.connected()
	b.stream(3)
	b.flow(claims(100, 100))
	c.restart(func() {
		for folder, held := range kept {
			empty(t, folder)
			if err := os.CopyFS(folder, os.DirFS(held)); err != nil {
				t.Fatal(err)
			}
		}
	})
	b.connected()
	b.stream(3)
	for i, result := range b.Publish(t.Context(), claims(1000, 20)) {
		if want := uint64(51 + i); result.Err != nil || result.Sequence != want {
			t.Fatalf("publish: got sequence %d, %v, want %d: the stream has lost nothing", result.Sequence, result.Err, want)
		}
	}
	got := map[string]bool{}
	for _, delivery := range b.arrive(70) {
		got[delivery.MessageID] = true
	}
	for _, id := range ids(claims(1000, 20)...) {
		if !got[id] {
			t.Errorf("message %s never came", id)
		}
	}
	b.close()
}

// restart stops all servers, and starts them again when between is through.
func (c *cluster) restart(between func()) {
	c.Helper()
	for _, one := range c.servers {
		stop(one)
	}
	between()
	for i := range c.servers {
		c.start(i)
	}
}

// streamFolders finds what a server keeps of the stream, and nothing of its consumer: the messages,
// and what the servers have agreed on about them.
func streamFolders(t *testing.T, store string) (folders []string) {
	t.Helper()
	for _, pattern := range []string{"jetstream/$G/streams/*/msgs", "jetstream/$SYS/_js_/S-R3F-*"} {
		found, err := filepath.Glob(filepath.Join(store, pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s in %s: got %v, %v, want one", pattern, store, found, err)
		}
		folders = append(folders, found...)
	}
	return folders
}

// empty removes all files of a folder.
func empty(t *testing.T, folder string) {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil || len(files) == 0 {
		t.Fatalf("files of %s: got %d, %v, want some", folder, len(files), err)
	}
	for _, file := range files {
		if err := os.RemoveAll(filepath.Join(folder, file.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// arrive fetches so many messages, while somebody looks at the progress now and then, as the sweep
// does.
func (b *bench) arrive(count int) (deliveries []event.Delivery) {
	b.Helper()
	b.until("messages that arrive", func() (any, bool) {
		floor, last, err := b.Progress(b.Context()) // a cluster that starts has no leader for a time
		ctx, cancel := context.WithTimeout(b.Context(), 100*time.Millisecond)
		defer cancel()
		some, _ := b.Fetch(ctx, count-len(deliveries)) // what fails is fetched again
		deliveries = append(deliveries, some...)
		return []any{len(deliveries), floor, last, err}, len(deliveries) == count
	})
	return deliveries
}
