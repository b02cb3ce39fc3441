package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// failpoints finds the names of all failpoints in the source, so that a new one cannot be forgotten here.
func failpoints(t *testing.T) (names []string) {
	t.Helper()
	quoted := regexp.MustCompile(`"((?:workflow|events)\.(?:before|after)_\w+)"`)
	for _, folder := range []string{"workflow", "events"} {
		files, err := filepath.Glob(filepath.Join("..", "pkg", "platform", folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files of %s: %v", folder, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range quoted.FindAllStringSubmatch(string(text), -1) {
				names = append(names, found[1])
			}
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) < 14 {
		t.Fatalf("only the failpoints %v are to be found", names)
	}
	return names
}

// TestFailpoints has omnid die at each failpoint in the middle of a move, and start again. A point that is not reached fails the test.
func TestFailpoints(t *testing.T) {
	t.Parallel()
	seed, random := faultSeed(t)
	names := failpoints(t)
	good := template(t, shopOptions{seed: seed, work: 5 * time.Millisecond})
	bad := template(t, shopOptions{seed: seed, work: 5 * time.Millisecond, fail: "promote", rollback: true})
	for _, name := range names {
		undo := strings.HasSuffix(name, "_undo")
		// How often a point is surely reached: by the steps of a move, by its one end, by what a rollback undoes, by events.
		most := map[bool]int{true: 8, false: 3}[strings.HasPrefix(name, "workflow.")]
		switch {
		case strings.HasSuffix(name, "_settle"):
			most = 1
		case undo:
			most = 3
		}
		number := 1 + random.IntN(most)
		t.Run(fmt.Sprintf("%s@%d", name, number), func(t *testing.T) {
			t.Parallel()
			if undo {
				diesAt(t, bad, fmt.Sprintf("%s@%d", name, number), "rolled_back")
			} else {
				diesAt(t, good, fmt.Sprintf("%s@%d", name, number), "succeeded")
			}
		})
		// In a rollback the first settling is that it begins, the second that it has ended; ten starts and checkpoints come before it.
		late := map[string]string{"settle": "2", "commit": "12", "checkpoint": "12"}[name[strings.LastIndexByte(name, '_')+1:]]
		if late != "" {
			t.Run(name+"@"+late+" in a rollback", func(t *testing.T) {
				t.Parallel()
				diesAt(t, bad, name+"@"+late, "rolled_back")
			})
		}
	}
}

// template gives the directory of an omnid that has applied a shop and ended, for copies.
func template(t *testing.T, options shopOptions) string {
	t.Helper()
	dir := t.TempDir()
	_, manifests := openShops(t, ".", 1, func(int) shopOptions { return options }) // the agents' log is below the working directory
	o := newOmnid(t, "omnid", dir)
	o.start(t)
	o.apply(t, manifests)
	eventually(t, patience(10*time.Second), "the audit log of the manifests", func() error {
		return noneWaits(o)
	})
	o.stop(t)
	return dir
}

// noneWaits is nil when no event waits for its consumers.
func noneWaits(o *omnid) error {
	var page struct{ Items []any }
	if err := o.call("GET", "/api/v1/audit?tenant=shop-0&limit=200", nil, &page); err != nil {
		return err
	}
	if len(page.Items) < 5 { // three resources, a policy, a zone
		return fmt.Errorf("%d records", len(page.Items))
	}
	return nil
}

// diesAt moves the shop of the template with the failpoint set, until omnid has died at it; starts omnid without, and waits for the run's end.
func diesAt(t *testing.T, template, point, want string) {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(template, "data"), dir).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	s := &shop{tenant: "shop-0", log: filepath.Join(dir, "shop-0.jsonl"), east: "192.0.2.1", west: "198.51.100.1", at: east, known: map[string]bool{}}
	o := newOmnid(t, "omnid", dir)
	o.launch(t, "OMNID_FAILPOINT="+point)
	id := ""
	if o.becomesReady(t) { // else it has died already, which is as good
		if run, err := o.trigger(s, "planned"); err == nil {
			id = run.ID
		}
	}
	begun := time.Now()
	for o.running() {
		if time.Since(begun) > patience(15*time.Second) {
			run, err := o.run(id)
			t.Fatalf("%s was not reached: the run is %+v (%v)", point, run, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if !o.killedItself() {
		t.Fatalf("omnid ended with %v", o.cmd.ProcessState)
	}
	before := len(s.entries(t, "effect"))
	o.start(t)
	if id == "" {
		id = triggerAgain(t, o, s, "planned")
	}
	run := o.ends(t, id)
	t.Logf("died after %d effects of %d", before, len(s.entries(t, "effect")))
	if run.Status != want {
		t.Errorf("the run is %s, want %s: %s", run.Status, want, run.Error)
	}
	s.holdsOnce(t, run)
	s.epochsGrow(t)
	if want == "succeeded" {
		s.isIn(t, o, west)
		s.auditedOnce(t, o, run)
	} else {
		s.isIn(t, o, east)
	}
	o.verify(t)
	o.kill(t)
	o.verify(t)
}
