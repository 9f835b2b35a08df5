package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/claimrail/claimrail/internal/store"
)

// defaultTop is how many providers are ranked where --limit does not say.
const defaultTop = 10

func newTopCommand(p *program) *cobra.Command {
	limit := defaultTop
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Rank providers by their net fee",
		Long: `Rank providers by their total net fee over all claims accepted, in US dollars, the
highest first; equal totals rank by NPI, ascending.`,
		Example: "  claimrail top\n  claimrail top --limit 25 --json\n  claimrail top --server http://127.0.0.1:8000",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 || limit > store.MaxTop {
				return misuse(fmt.Errorf("--limit is %d", limit), fmt.Sprintf("give a number from 1 to %d", store.MaxTop))
			}
			return p.withSystem("top", func(s system) error {
				ranking, err := s.TopProviders(cmd.Context(), limit)
				if err != nil {
					return err
				}
				if p.json {
					return writeJSON(p.stdout, ranking)
				}
				t := table{columns: []column{{"rank", true}, {"provider npi", false}, {"total net fee", true}, {"claims", true}}}
				for _, r := range ranking {
					t.add(strconv.Itoa(r.Rank), r.ProviderNPI, r.TotalNetFee, strconv.FormatInt(r.ClaimCount, 10))
				}
				return t.writeTo(p.stdout)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", defaultTop, "rank `N` providers, 1 to 1000")
	return cmd
}
