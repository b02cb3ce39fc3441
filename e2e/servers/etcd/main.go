// Command etcd is an etcd of one member for the fault tests, in which several omnids share one from outside. It listens on a free port of
// the loopback, prints the client's URL on stdout, and ends when its stdin does.
//
//	etcd DIR
package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("usage: etcd DIR")
	}
	wal.SegmentSizeBytes = 1 << 20 // it is written in full at the start
	loopback := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg := embed.NewConfig()
	// It logs its own end as errors; those of its start are returned.
	cfg.Dir, cfg.LogLevel, cfg.LogOutputs = os.Args[1], "fatal", []string{"stderr"}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = loopback, loopback
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = nil, loopback
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	defer e.Close()
	select {
	case <-e.Server.ReadyNotify():
	case err := <-e.Err():
		return err
	case <-time.After(time.Minute):
		return errors.New("it was not ready within a minute")
	}
	fmt.Println("http://" + e.Clients[0].Addr().String())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
