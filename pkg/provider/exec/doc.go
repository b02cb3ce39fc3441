// Package exec is the driver that runs a program for each action, in the manner of OCF resource agents: the program is
// called as "command ACTION", learns of its target by OMNI_… variables, and answers by its exit code:
//
//	0  done
//	3  not supported: the step is skipped
//	4  refused, the epoch is stale
//	…  failed; the last lines of stderr say why
//
// check prints one JSON line besides. The whole contract is in docs/drivers.md.
//
// It owns what these programs are told and what their answers mean: how many run at once, and what they may see of omnid (PATH and
// nothing else). provider.Runner bounds how long they take and how much of their output is kept. It never runs a shell, and
// never interprets what an action prints.
package exec
