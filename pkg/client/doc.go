// Package client is the typed client of omnid's REST interface.
//
// One method a route, named for what it does. Errors are *omni.Error with the server's code, sentence, hint and request id, so
// that a command turns them into its exit code in one place. Requests that change nothing, and those that carry an
// idempotency key, are tried again when the server cannot be reached or says 429 or 503; nothing else is.
//
// It holds no state but the connection, and opens no store.
package client
