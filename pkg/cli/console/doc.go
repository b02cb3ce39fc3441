// Package console is what every command of omnictl shares: the streams, the global flags, the connection, and the one way
// to print data and errors.
//
// Data goes to Out, everything else to Err. Tables are for people; json, jsonl, yaml and name are for scripts and hold the
// same fields. Dangerous commands ask through Confirm.
package console
