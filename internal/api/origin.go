package api

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxHostShown bounds what is shown of a Host header, in characters.
const maxHostShown = 100

// IsLoopback tells whether only this machine can reach the host, a name or an address.
func IsLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host) // takes no memory; this runs for every request
	return err == nil && address.Unmap().IsLoopback()
}

// takesHost tells whether the request came under a name of this server. A page of another site
// can have its own name lead to this machine, and ask and read here as if it were ours; what
// it can not do is to send another Host than that name. Probes say nothing that it could use.
func (a *API) takesHost(r *http.Request) bool {
	if !a.Loopback && len(a.Hosts) == 0 || r.URL.Path == healthPath || r.URL.Path == readyPath {
		return true
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil { // it has no port
		host = strings.TrimSuffix(strings.TrimPrefix(r.Host, "["), "]")
	}
	return IsLoopback(host) || slices.ContainsFunc(a.Hosts, func(allowed string) bool {
		return strings.EqualFold(allowed, host) || strings.EqualFold(allowed, r.Host)
	})
}

// misdirected answers what takesHost does not take.
func (a *API) misdirected(_ http.ResponseWriter, r *http.Request) error {
	return newFault(http.StatusMisdirectedRequest, "host", fmt.Sprintf("this server does not go by the Host %.*q: ask it as localhost, "+
		"or have its operator add the name to CLAIMRAIL_ALLOW_HOSTS", maxHostShown, r.Host))
}
