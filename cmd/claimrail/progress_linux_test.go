package main

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"unsafe"
)

// A bar is drawn on a terminal that knows its width, and nowhere else: on one without a width
// nothing would be seen, not even that something goes on.
func TestBarNeedsWidth(t *testing.T) {
	t.Parallel()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0) // a new terminal, which nobody has told a size
	if err != nil {
		t.Skipf("no terminal can be made here: %v", err)
	}
	defer func() { _ = screen.Close() }()
	if hasRoom(screen) {
		t.Error("without a width: got a bar, want lines")
	}
	size := [4]uint16{24, 80} // rows, columns, and what they are in pixels
	_, _, code := syscall.Syscall(syscall.SYS_IOCTL, screen.Fd(), syscall.TIOCSWINSZ, uintptr(unsafe.Pointer(&size)))
	if code != 0 {
		t.Fatalf("set the size: %v", code)
	}
	if !hasRoom(screen) {
		t.Error("80 columns wide: got lines, want a bar")
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(reader.Close(), writer.Close()); err != nil {
			t.Error(err)
		}
	}()
	if hasRoom(writer) {
		t.Error("on a pipe: got a bar, want lines")
	}
}
