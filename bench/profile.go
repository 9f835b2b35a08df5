package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"
	"time"
)

// profileVariable names, to a side, the folder for its profiles.
const profileVariable = "BENCH_PROFILES"

// profiled has a side of this program profile what it does from its first SIGUSR1 to its
// second. Without a folder for profiles it does nothing.
func (r *rig) profiled(p *process, work func() (load, error)) (load, error) {
	if r.profiles == "" || !p.isSide {
		return work()
	}
	if err := p.command.Process.Signal(syscall.SIGUSR1); err != nil {
		return load{}, fmt.Errorf("begin a profile: %w", err)
	}
	l, err := work()
	return l, errors.Join(err, p.command.Process.Signal(syscall.SIGUSR1))
}

// profileSide serves profiled's signals until ctx ends. It writes a profile of the CPU and
// one of the allocations, which goes back to the start of the side, for each loaded period.
func profileSide(ctx context.Context, name string) error {
	folder := os.Getenv(profileVariable)
	if folder == "" {
		return nil
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	defer signal.Stop(signals)
	for {
		select {
		case <-signals:
		case <-ctx.Done():
			return nil
		}
		prefix := filepath.Join(folder, name+"-"+time.Now().Format("150405")+"-")
		if err := profilePeriod(ctx, prefix, signals); err != nil {
			return fmt.Errorf("profile %s: %w", name, err)
		}
	}
}

func profilePeriod(ctx context.Context, prefix string, end <-chan os.Signal) (err error) {
	cpu, err := os.Create(prefix + "cpu.pprof")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cpu.Close()) }()
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return err
	}
	select {
	case <-end:
	case <-ctx.Done():
	}
	pprof.StopCPUProfile()
	allocations, err := os.Create(prefix + "allocs.pprof")
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(allocations, 0), allocations.Close())
}
