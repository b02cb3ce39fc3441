package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// faultSeed decides what the fault tests leave to chance. OMNI_FAULT_SEED repeats a run, as far as a machine's timing can be repeated.
func faultSeed(t *testing.T) (seed uint64, random *rand.Rand) {
	t.Helper()
	seed = uint64(time.Now().UnixNano())
	if text := os.Getenv("OMNI_FAULT_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("OMNI_FAULT_SEED: %v", err)
		}
	}
	t.Logf("OMNI_FAULT_SEED=%d", seed)
	return seed, rand.New(rand.NewPCG(seed, 0))
}

// shop is a tenant with a database, an app and a load balancer in two regions, as in the demo; its agents are those of servers/agent.
type shop struct {
	tenant string
	log    string // of its agents
	east   string // where the load balancer is in each region
	west   string
	at     string          // the region that it is in
	known  map[string]bool // its runs that are over
}

const (
	east = "us-east-1"
	west = "eu-west-1"
)

// away is the region where the shop is not.
func (s *shop) away() string {
	if s.at == east {
		return west
	}
	return east
}

func (s *shop) domain() string { return s.tenant + ".test" }

// shopOptions say how the agents of a shop behave; see servers/agent.
type shopOptions struct {
	seed     uint64
	work     time.Duration
	dies     bool
	fail     string // an action that the app in the west always fails to do
	rollback bool   // when a step fails for good
}

// openShops makes n shops with a directory for the logs of their agents, and gives their manifests.
func openShops(t *testing.T, dir string, n int, options func(i int) shopOptions) (shops []*shop, manifests string) {
	t.Helper()
	var text strings.Builder
	for _, region := range []string{east, west} {
		fmt.Fprintf(&text, "apiVersion: omni/v1\nkind: Region\nmetadata: {name: %s}\nspec:\n  zones:\n", region)
		for _, zone := range "ab" {
			fmt.Fprintf(&text, "    - {name: %s%c, probes: [{name: alive, type: exec, command: [\"true\"], interval: 1s, timeout: 1s}]}\n", region, zone)
		}
		text.WriteString("---\n")
	}
	for i := range n {
		s := &shop{
			tenant: fmt.Sprintf("shop-%d", i), at: east, known: map[string]bool{},
			east: fmt.Sprintf("192.0.2.%d", i+1), west: fmt.Sprintf("198.51.100.%d", i+1),
		}
		s.log = filepath.Join(dir, s.tenant+".jsonl")
		shops = append(shops, s)
		text.WriteString(s.manifests(server(t, "agent"), options(i)))
	}
	return shops, text.String()
}

func (s *shop) manifests(agent string, o shopOptions) string {
	var text strings.Builder
	fmt.Fprintf(&text, "apiVersion: omni/v1\nkind: Tenant\nmetadata: {name: %s}\nspec: {billingCurrency: USD}\n---\n", s.tenant)
	needs := ""
	for _, r := range []struct{ name, kind string }{{"orders-db", "database"}, {"shop", "app"}, {"shop-lb", "loadbalancer"}} {
		fmt.Fprintf(&text, "apiVersion: omni/v1\nkind: Resource\nmetadata: {name: %s, tenant: %s}\nspec:\n  type: %s\n  dependsOn: [%s]\n  placements:\n",
			r.name, s.tenant, r.kind, needs)
		needs = r.name
		dies := "0"
		if o.dies {
			dies = "1"
		}
		for _, p := range []struct{ region, role, address string }{{east, "active", s.east}, {west, "standby", s.west}} {
			fail := ""
			if r.kind == "app" && p.region == west {
				fail = o.fail
			}
			fmt.Fprintf(&text, "    - {region: %s, role: %s, driver: exec, address: \"%s:443\", config: {command: %q, env: {AGENT_LOG: %q, AGENT_ROLE: %s, "+
				"AGENT_SEED: \"%d\", AGENT_WORK: %s, AGENT_DIES: %q, AGENT_FAIL: %q}}}\n",
				p.region, p.role, p.address, agent, s.log, p.role, o.seed, o.work, dies, fail)
		}
		text.WriteString("---\n")
	}
	onFailure := "pause"
	if o.rollback {
		onFailure = "rollback"
	}
	fmt.Fprintf(&text, "apiVersion: omni/v1\nkind: FailoverPolicy\nmetadata: {name: default, tenant: %s}\nspec: {primary: %s, targets: [%s], onStepFailure: %s}\n---\n",
		s.tenant, east, west, onFailure)
	fmt.Fprintf(&text, "apiVersion: omni/v1\nkind: Zone\nmetadata: {name: %s, tenant: %s}\nspec: {domain: %s, ns: [ns1.%s], records: [{name: www, type: A, ttl: 1s, resource: shop-lb}]}\n---\n",
		s.tenant, s.tenant, s.domain(), s.domain())
	return text.String()
}

// apply applies manifests.
func (o *omnid) apply(t *testing.T, manifests string) {
	t.Helper()
	body := map[string]any{"files": []map[string]string{{"name": "shops.yaml", "content": manifests}}}
	if err := o.call(http.MethodPost, "/api/v1/manifests/apply", body, nil); err != nil {
		t.Fatalf("apply: %v", err)
	}
}

// moveRun is what the tests look at of a run.
type moveRun struct {
	ID     string `json:"id"`
	Tenant string `json:"tenant"`
	Status string `json:"status"`
	Mode   string `json:"mode"`
	Error  string `json:"error"`
	To     string `json:"to"`
	Steps  []struct {
		ID       string `json:"id"`
		Resource string `json:"resource"`
		Action   string `json:"action"`
		Status   string `json:"status"`
		Attempts int    `json:"attempts"`
		Error    string `json:"error"`
		Message  string `json:"message"`
	} `json:"steps"`
}

func (r moveRun) over() bool {
	return r.Status != "awaiting_approval" && r.Status != "running" && r.Status != "paused"
}

// trigger asks for the shop's move to the region where it is not.
func (o *omnid) trigger(s *shop, mode string) (run moveRun, err error) {
	err = o.call(http.MethodPost, "/api/v1/failovers", map[string]any{
		"tenant": s.tenant, "from": s.at, "to": s.away(), "mode": mode, "confirm": s.tenant, "reason": "a fault test",
	}, &run)
	return run, err
}

func (o *omnid) run(id string) (run moveRun, err error) {
	err = o.call(http.MethodGet, "/api/v1/failovers/"+id, nil, &run)
	return run, err
}

// runs lists the shop's runs, newest first.
func (o *omnid) runs(s *shop) (list []moveRun, err error) {
	var page struct {
		Items []moveRun `json:"items"`
	}
	err = o.call(http.MethodGet, "/api/v1/failovers?tenant="+url.QueryEscape(s.tenant), nil, &page)
	return page.Items, err
}

// ends waits for the end of a run.
func (o *omnid) ends(t *testing.T, id string) (run moveRun) {
	t.Helper()
	eventually(t, patience(40*time.Second), "the end of run "+id, func() (err error) {
		if run, err = o.run(id); err == nil && !run.over() {
			err = fmt.Errorf("it is %s %s: %+v", run.Status, run.Error, run.Steps)
		}
		return err
	})
	return run
}

// agentEntry is a line of an agent's log; see servers/agent.
type agentEntry struct {
	Kind     string    `json:"kind"`
	Action   string    `json:"action"`
	Run      string    `json:"run"`
	Step     string    `json:"step"`
	Resource string    `json:"resource"`
	Region   string    `json:"region"`
	Role     string    `json:"role"`
	Epoch    int64     `json:"epoch"`
	At       time.Time `json:"at"`
}

// entries gives the lines of one kind of the shop's agents' log.
func (s *shop) entries(t *testing.T, kind string) (list []agentEntry) {
	t.Helper()
	text, err := os.ReadFile(s.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var e agentEntry
		if line[len(line)-1] != '\n' { // it is just being written
			continue
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%s: %v", s.log, err)
		}
		if e.Kind == kind {
			list = append(list, e)
		}
	}
	return list
}

func effects(t *testing.T, shops []*shop) (n int) {
	t.Helper()
	for _, s := range shops {
		n += len(s.entries(t, "effect"))
	}
	return n
}

// holdsOnce fails if an action of one (run, step) had its effect twice, or if a step of run that counts as done had it never.
func (s *shop) holdsOnce(t *testing.T, run moveRun) {
	t.Helper()
	type piece struct{ run, step string }
	had := map[piece]int{}
	for _, e := range s.entries(t, "effect") {
		had[piece{e.Run, e.Step}]++
	}
	for _, p := range slices.SortedFunc(maps.Keys(had), func(a, b piece) int { return strings.Compare(a.run+a.step, b.run+b.step) }) {
		if had[p] > 1 {
			t.Errorf("%s: %s of %s had its effect %d times:\n%s", s.tenant, p.step, p.run, had[p], s.history(t, p.run, p.step))
		}
	}
	for _, step := range run.Steps {
		acts := step.Action == "fence" || step.Action == "promote" || step.Action == "release"
		if acts && step.Status == "succeeded" && had[piece{run.ID, step.ID}] == 0 {
			t.Errorf("%s: %s of %s counts as done, and never had an effect:\n%s", s.tenant, step.ID, run.ID, s.history(t, run.ID, step.ID))
		}
	}
}

// history gives the lines of the agents' log that are about a step of a run.
func (s *shop) history(t *testing.T, run, step string) string {
	t.Helper()
	text, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, `"`+run+`"`) && strings.Contains(line, `"`+step+`"`) {
			lines.WriteString(line)
		}
	}
	return lines.String()
}

// epochsGrow fails if an older leader had an effect on the shop after a newer one.
func (s *shop) epochsGrow(t *testing.T) {
	t.Helper()
	var newest agentEntry
	for _, e := range s.entries(t, "effect") {
		if e.Epoch < newest.Epoch {
			t.Errorf("%s: a leader of epoch %d acted after one of epoch %d: %+v after %+v", s.tenant, e.Epoch, newest.Epoch, e, newest)
		}
		newest = e
	}
}

// isIn fails unless everything of the shop is in the region: by omnid, by its agents, and by DNS.
func (s *shop) isIn(t *testing.T, o *omnid, region string) {
	t.Helper()
	var page struct {
		Items []struct {
			Name       string                          `json:"name"`
			Serving    string                          `json:"serving"`
			Placements []struct{ Region, Role string } `json:"placements"`
		} `json:"items"`
	}
	if err := o.call(http.MethodGet, "/api/v1/resources?tenant="+s.tenant, nil, &page); err != nil {
		t.Error(err)
		return
	}
	for _, r := range page.Items {
		var active []string
		for _, p := range r.Placements {
			if p.Role == "active" {
				active = append(active, p.Region)
			}
		}
		if !slices.Equal(active, []string{region}) || r.Serving != region {
			t.Errorf("%s/%s: active in %v, serving in %s, want %s", s.tenant, r.Name, active, r.Serving, region)
		}
	}
	if len(page.Items) != 3 {
		t.Errorf("%s has %d resources", s.tenant, len(page.Items))
	}
	roles := map[string]string{}
	for _, e := range s.entries(t, "effect") {
		roles[e.Resource+" in "+e.Region] = e.Role
	}
	for where, role := range roles {
		if (role == "active") != strings.HasSuffix(where, region) {
			t.Errorf("%s: the agent of %s says that it is %s", s.tenant, where, role)
		}
	}
	want := map[string]string{east: s.east, west: s.west}[region]
	eventually(t, patience(5*time.Second), "DNS of "+s.tenant, func() error {
		got, err := ask(o.DNS, "www."+s.domain(), "A")
		if err == nil && !slices.Equal(got, []string{want}) {
			err = fmt.Errorf("it answers %v, want %s", got, want)
		}
		return err
	})
}

// auditedOnce fails unless the shop's audit log holds one trigger of the run, and one move of each of its three resources.
func (s *shop) auditedOnce(t *testing.T, o *omnid, run moveRun) {
	t.Helper()
	count := func(action string) (n int, err error) {
		var page struct {
			Items []struct {
				Object string         `json:"object"`
				Detail map[string]any `json:"detail"`
			} `json:"items"`
		}
		err = o.call(http.MethodGet, "/api/v1/audit?limit=200&tenant="+s.tenant+"&action="+action, nil, &page)
		for _, e := range page.Items {
			if e.Object == "failover/"+run.ID || e.Detail["run"] == run.ID {
				n++
			}
		}
		return n, err
	}
	eventually(t, patience(10*time.Second), "the audit log of "+s.tenant, func() error {
		triggers, err := count("failover.trigger")
		if err != nil {
			return err
		}
		moves, err := count("resource.move")
		if err == nil && (triggers != 1 || moves != 3) {
			err = fmt.Errorf("%d records of the trigger of %s, and %d of moves", triggers, run.ID, moves)
		}
		return err
	})
}
