// Package provider is the seam between OmniCloud and the things that it moves: databases, app servers, load balancers. A
// Driver asks one placement how it is (check) and tells it what to become (promote, demote, fence, start, stop).
//
// It owns the words of that seam: Action, Target, Call, State, Driver, the two answers that are not failures
// (ErrNotSupported, ErrStaleEpoch), the Registry that finds a driver by its name, and what several drivers and probes share: Settings
// reads a config, Runner runs programs within bounds, Tail and Clean make what a target says fit to be kept. Each driver is a package below:
// exec runs a program, http calls an agent, sim is a world in memory. providertest holds the contract that every
// driver keeps:
//
//   - An action is idempotent by (Run, Step): the same call again has no second effect and the same answer.
//   - Epoch is a fencing token: once a target has seen an epoch, calls with a lower one are refused with ErrStaleEpoch
//     and have no effect.
//   - A call ends soon after its context does, or at the driver's own timeout, whatever the target does.
//   - What a target says is bounded before it is kept, and is never trusted to be well formed.
//
// It never decides that something must move, never retries, and never touches a database: the run that calls it does.
package provider
