package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// How often progress is shown.
const (
	barEvery  = 200 * time.Millisecond // on a terminal
	lineEvery = 5 * time.Second        // elsewhere
)

// maxBarName bounds what a bar shows of a name, in characters, so that there is room for its figures.
const maxBarName = 24

// progress shows how far a file has come, until it is told to end.
type progress struct {
	stop chan struct{}
	done chan struct{}
}

// follow begins to show, on standard error, how much of a file has been read.
func (p *program) follow(ctx context.Context, name string, total int64, read func() int64) *progress {
	shown := &progress{stop: make(chan struct{}), done: make(chan struct{})}
	if screen, ok := p.stderr.(*os.File); ok && hasRoom(screen) {
		go shown.bar(ctx, screen, name, total, read)
	} else {
		go shown.lines(p, name, total, read)
	}
	return shown
}

// hasRoom tells whether the file is a terminal on which a bar can be drawn. One that does not
// know its width, as under some programs that keep a record, would show nothing.
func hasRoom(screen *os.File) bool {
	width, _, err := term.GetSize(int(screen.Fd()))
	return err == nil && width > 0
}

// end shows the last state, and returns when nothing more is shown.
func (s *progress) end() {
	close(s.stop)
	<-s.done
}

func (s *progress) bar(ctx context.Context, screen *os.File, name string, total int64, read func() int64) {
	defer close(s.done)
	bars := mpb.NewWithContext(context.WithoutCancel(ctx), mpb.WithOutput(screen), mpb.WithRefreshRate(barEvery))
	bar := bars.AddBar(max(total, 1),
		mpb.PrependDecorators(decor.Name(endOf(name)+" "), decor.CountersKibiByte("% .1f / % .1f")),
		mpb.AppendDecorators(decor.Percentage(), decor.AverageSpeed(decor.SizeB1024(0), "  % .1f"), decor.Name("  "), decor.AverageETA(decor.ET_STYLE_MMSS), decor.Name(" left")))
	ticker := time.NewTicker(barEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			bar.SetCurrent(min(read(), total-1)) // it is full only at the end
		case <-s.stop:
			bar.SetCurrent(read())
			bar.Abort(false)
			bars.Wait()
			return
		}
	}
}

// endOf gives the end of a name that is long: a path begins alike for many files.
func endOf(name string) string {
	characters := []rune(name)
	if len(characters) <= maxBarName {
		return name
	}
	return "…" + string(characters[len(characters)-maxBarName+1:])
}

func (s *progress) lines(p *program, name string, total int64, read func() int64) {
	defer close(s.done)
	started := time.Now()
	ticker := time.NewTicker(lineEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			fmt.Fprintln(p.stderr, progressLine(name, total, read(), time.Since(started)))
		case <-s.stop:
			return
		}
	}
}

// progressLine says how far a file has come, and how long it may still take.
func progressLine(name string, total, read int64, took time.Duration) string {
	const mebibyte = 1 << 20
	line := fmt.Sprintf("%s: %.1f of %.1f MiB", name, float64(read)/mebibyte, float64(total)/mebibyte)
	if read <= 0 || took <= 0 || total < read {
		return line
	}
	left := time.Duration(float64(took) * float64(total-read) / float64(read)).Round(time.Second)
	return fmt.Sprintf("%s, %d %%, %.1f MiB/s, %s left", line, 100*read/max(total, 1), float64(read)/mebibyte/took.Seconds(), left)
}
