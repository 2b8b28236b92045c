package jobs

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/falconer-sec/falconer/pkg/fault"
)

// lookupTimeout bounds asking for the registry's number.
const lookupTimeout = 5 * time.Second

// registry makes a Deps.Registry of the service's address. A name is looked up
// anew for each Job, since a service can be made anew: pods are given its
// number, so that they need no name server.
func registry(address string) (func(context.Context) (string, error), error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.Host == "" || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.User != nil {
		return nil, fault.Errorf(fault.Permanent, "FALCONER_REGISTRY_URL is %.100q, not of the form http://HOST:PORT", address)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		base := "http://" + net.JoinHostPort(ip.String(), port)
		return func(context.Context) (string, error) { return base, nil }, nil
	}
	return func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
		if err != nil {
			return "", fault.New("runner: look up the registry", fault.Transient, err)
		}
		return "http://" + net.JoinHostPort(ips[0].Unmap().String(), port), nil
	}, nil
}
