// Command agent stands behind the exec driver in the fault tests. Its placement is nothing but a line in a log: what an action has done is
// appended and synced in one write, and check tells what the last line says. So an action has its effect as a whole or not at all,
// whoever is killed when, and the log shows each effect that ever was.
//
//	agent check|promote|demote|fence|start|stop    called by omnid, with OMNI_* in the environment
//
// It is as naive as agents may be: it refuses older epochs, but does an action again whenever it is told to. That none is
// repeated is omnid's part, and what the tests look for.
//
//	AGENT_LOG    the log of all placements of one tenant
//	AGENT_ROLE   the role before anything was done
//	AGENT_SEED   of the times that actions take
//	AGENT_WORK   how long an action takes at most, before its effect and after it again
//	AGENT_FAIL   an action that fails, with no effect
//	AGENT_DIES   1: it is killed with omnid; else it goes on to its end
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"time"
)

// The exit codes of an agent.
const (
	exitFailed       = 1
	exitNotSupported = 3
	exitStale        = 4
)

// entry is a line of the log.
type entry struct {
	Kind     string    `json:"kind"` // check (asked by a leader), effect, or refused
	Action   string    `json:"action"`
	Run      string    `json:"run"`
	Step     string    `json:"step"`
	Resource string    `json:"resource"`
	Region   string    `json:"region"`
	Role     string    `json:"role"` // after it
	Epoch    int64     `json:"epoch"`
	At       time.Time `json:"at"`
}

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = exitFailed
	}
	os.Exit(code)
}

func run() (code int, err error) {
	if len(os.Args) != 2 {
		return 0, errors.New("usage: agent ACTION")
	}
	if os.Getenv("AGENT_DIES") == "1" {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0); errno != 0 {
			return 0, errno
		}
	}
	e := entry{
		Kind: "effect", Action: os.Args[1], Run: os.Getenv("OMNI_RUN"), Step: os.Getenv("OMNI_STEP"),
		Resource: os.Getenv("OMNI_RESOURCE"), Region: os.Getenv("OMNI_REGION"),
	}
	if e.Epoch, err = strconv.ParseInt(os.Getenv("OMNI_EPOCH"), 10, 64); err != nil {
		return 0, err
	}
	before, after, err := work(e)
	if err != nil {
		return 0, err
	}
	if e.Action == "check" {
		e.Kind = "check"
		time.Sleep(before)
		if code, err = record(&e); err == nil && code == 0 {
			_, err = fmt.Printf(`{"role":%q,"healthy":true,"lag_seconds":0,"lag_bytes":0}`+"\n", e.Role)
		}
		return code, err
	}
	roles := map[string]string{"promote": "active", "demote": "standby", "start": "standby", "fence": "fenced", "stop": "stopped"}
	if e.Role = roles[e.Action]; e.Role == "" {
		return exitNotSupported, nil
	}
	if e.Action == os.Getenv("AGENT_FAIL") {
		return 0, errors.New("it was told to fail")
	}
	time.Sleep(before)
	if code, err = record(&e); err == nil && code == 0 {
		time.Sleep(after)
	}
	return code, err
}

// work is how long the action takes. It differs from action to action and from seed to seed, and is otherwise the same each time.
func work(e entry) (before, after time.Duration, err error) {
	most, err := time.ParseDuration(os.Getenv("AGENT_WORK"))
	if err != nil || most <= 0 {
		return 0, 0, fmt.Errorf("AGENT_WORK: %q is no time", os.Getenv("AGENT_WORK"))
	}
	seed, err := strconv.ParseUint(os.Getenv("AGENT_SEED"), 10, 64)
	if err != nil {
		return 0, 0, err
	}
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, e.Resource, e.Region, e.Step, e.Epoch) // a hash takes everything
	random := rand.New(rand.NewPCG(seed, h.Sum64()))            //nolint:gosec // a test must be repeatable
	return time.Duration(random.Int64N(int64(most))), time.Duration(random.Int64N(int64(most))), nil
}

// record appends e, unless a newer leader has been here: then e becomes a refusal, with exit code 4. A check gets its role from the log.
func record(e *entry) (code int, err error) {
	file, err := os.OpenFile(os.Getenv("AGENT_LOG"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600) //nolint:gosec // the test names it
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return 0, err
	}
	role, newest, err := last(file, *e)
	if err != nil {
		return 0, err
	}
	if e.Kind == "check" {
		e.Role = role
		if e.Epoch == 0 { // somebody who only looks
			return 0, nil
		}
	}
	if e.Epoch < newest {
		e.Kind, e.Role, code = "refused", role, exitStale
	}
	e.At = time.Now()
	line, err := json.Marshal(e)
	if err != nil {
		return 0, err
	}
	if _, err := file.Write(append(line, '\n')); err != nil {
		return 0, err
	}
	if e.Kind != "check" {
		err = file.Sync()
	}
	return code, err
}

// last gives the role of e's placement, and the highest epoch that it has seen.
func last(file io.Reader, e entry) (role string, newest int64, err error) {
	role = os.Getenv("AGENT_ROLE")
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var old entry
		if err := json.Unmarshal(lines.Bytes(), &old); err != nil {
			return "", 0, err
		}
		if old.Resource != e.Resource || old.Region != e.Region {
			continue
		}
		newest = max(newest, old.Epoch)
		if old.Kind == "effect" {
			role = old.Role
		}
	}
	return role, newest, lines.Err()
}
