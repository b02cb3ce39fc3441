// Package election decides which replica of omnid leads, through etcd.
//
// A replica holds a lease in etcd (a session) and campaigns with it. The winner takes the next epoch from the database
// (package epoch) and works under it until its leadership ends:
//
//	Open ──► campaigning ──won──► taking the epoch ──► leading
//	             ▲                       │                │
//	             │     failed            │                │ lease lost, local deadline passed,
//	             └───────────────────────┴────────────────┘ lead returned, or ctx ended
//
// Three things keep two leaders apart, each enough where the one before it fails:
//
//  1. the lease: etcd lets one replica win at a time;
//  2. the local deadline: the context of lead ends a margin before the lease can, counted on the monotonic clock from when its last
//     renewal was sent, so a leader that cannot reach etcd, or was frozen, stops by itself;
//  3. the fence: each transaction of a leader checks its epoch, so what a frozen leader was about to write is refused after another
//     has taken over.
//
// Without endpoints it runs an etcd of its own inside the process: one member, no listener, its data under the data directory. No port
// is open, so nobody else on the machine can take part.
//
// It never starts leader-only work itself, and never trusts the clock of another machine.
package election
