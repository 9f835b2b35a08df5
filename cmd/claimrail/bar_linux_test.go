package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
	"unsafe"
)

// newTerminal gives a terminal of a width, and what reads all that was shown on it once it is closed.
func newTerminal(t *testing.T, columns uint16) (screen *os.File, shown func() string) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal can be made here: %v", err)
	}
	control := func(request uintptr, value unsafe.Pointer) {
		if _, _, code := syscall.Syscall(syscall.SYS_IOCTL, keyboard.Fd(), request, uintptr(value)); code != 0 {
			t.Fatalf("set up a terminal: %v", code)
		}
	}
	var locked, number int32
	size := [4]uint16{24, columns}
	control(syscall.TIOCSPTLCK, unsafe.Pointer(&locked))
	control(syscall.TIOCGPTN, unsafe.Pointer(&number))
	control(syscall.TIOCSWINSZ, unsafe.Pointer(&size))
	screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(keyboard) // it ends with an error once the screen is closed
		_ = keyboard.Close()
		text <- string(all)
	}()
	return screen, func() string {
		_ = screen.Close()
		return <-text
	}
}

// drawn shows a file of 20 MiB that is read at 1 MiB/s, for a time, on a terminal of a width. It gives what was
// drawn, one after the other.
func drawn(t *testing.T, name string, columns uint16, took time.Duration) (frames []string) {
	t.Helper()
	screen, shown := newTerminal(t, columns)
	synctest.Test(t, func(t *testing.T) {
		const total = 20 << 20
		began := time.Now()
		read := func() int64 { return min(total, int64(time.Since(began).Seconds()*(1<<20))) }
		bar := (&program{stderr: screen}).follow(t.Context(), name, total, read)
		<-time.After(took)
		bar.end()
	})
	const upAndClear = "\x1b[1A\x1b[J" // so that one is drawn over the other
	for frame := range strings.SplitSeq(shown(), upAndClear) {
		frames = append(frames, strings.TrimSuffix(frame, "\r\n"))
	}
	return frames
}

// On a terminal a bar shows how much of a file has been read, how fast, and how long it may still take, every
// 200 ms in one line of the terminal's width, whatever the length of its name; it is full only at the end.
func TestBar(t *testing.T) {
	t.Parallel()
	for _, example := range []struct {
		name    string
		columns uint16
		took    time.Duration
		last    string
	}{
		{"a.csv", 80, 5100 * time.Millisecond, "a.csv 5.1 MiB / 20.0 MiB [=====>-------------------] 25 %  1.0 MiB/s  00:14 left"},
		{"a.csv", 60, 14900 * time.Millisecond, "a.csv 14.9 MiB / 20.0 MiB [==>-] 74 %  1.0 MiB/s  00:05 left"},
		{"a.csv", 100, 24900 * time.Millisecond, "a.csv 20.0 MiB / 20.0 MiB [=========================================] 100 %  825.8 KiB/s  00:00 left"},
		{strings.Repeat("folder/", 20) + "a.csv", 80, 5100 * time.Millisecond, "…der/folder/folder/a.csv 5.1 MiB / 20.0 MiB [=>----] 25 %  1.0 MiB/s  00:14 left"},
	} {
		frames := drawn(t, example.name, example.columns, example.took)
		if got := frames[len(frames)-1]; got != example.last {
			t.Errorf("%.5s, %d columns, %v: got %q at the end, want %q", example.name, example.columns, example.took, got, example.last)
		}
		if least := int(example.took/barEvery) - 1; len(frames) < least {
			t.Errorf("%.5s, %d columns, %v: got %d frames, want %d or more", example.name, example.columns, example.took, len(frames), least)
		}
		for i, frame := range frames {
			if utf8.RuneCountInString(frame) > int(example.columns) || strings.ContainsAny(frame, "\r\n\x1b") {
				t.Errorf("%.5s, %d columns, %v: got %q, want one line", example.name, example.columns, example.took, frame)
			}
			if whole := strings.Contains(frame, "=]"); whole && i < len(frames)-1 {
				t.Errorf("%.5s, %d columns, %v: got %q before the end, want a bar that is not full", example.name, example.columns, example.took, frame)
			}
		}
	}
}
