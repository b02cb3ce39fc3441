// Package httpdriver is the driver that calls an agent over HTTP: POST {url}/{action} with the call as JSON, and GET {url}/check.
// The agent answers by its status:
//
//	200, 204   done; check answers 200 with a JSON object
//	501        not supported: the step is skipped
//	409, 412   refused, the epoch is stale
//	…          failed; the body says why
//
// The whole contract is in docs/drivers.md.
//
// It owns the connections to agents, and the bounds of what is read from them. It never retries (the agent gets an
// Idempotency-Key of run and step, the caller decides), never follows a redirect to another host, never uses a proxy.
package httpdriver
