package workflow

import (
	"cmp"
	"slices"
	"time"
)

// machine is one run in the engine's memory, and the rules of what may happen to it next. It does no I/O and reads no clock: the
// engine tells it what was committed and which waits are over, and it says what to do.
type machine struct {
	run   Run // without Steps
	steps []Step
	// busy marks steps that are in the engine's hands, from asking for their start to the commit of their end. What the
	// database says of them is older than what is known here.
	busy    []bool
	plain   []bool // there is nothing to undo
	waiting []bool // for the backoff after a failed attempt
	doing   int    // how many are busy
	order   int64  // the highest Step.ended
	last    time.Time

	levels []level
	level  int   // the lowest with steps that are not over
	left   []int // what an earlier leader left in the middle, to be begun again first
	// stale: the database has moved on without us, or a decision is being committed; nothing begins until it is known.
	stale, settling bool
}

// level is the lanes of one level; lane is its steps in the order of Seq.
type (
	level struct{ lanes []*lane }
	lane  struct {
		steps  []int
		next   int  // the first that is not over
		broken bool // one before next has failed: what stands behind it, with a higher Seq than failed, is skipped
		failed int
	}
)

func newMachine(r Run, now time.Time, plain func(action string) bool) (m *machine, waits map[int]time.Duration) {
	m = &machine{}
	m.busy, m.waiting, m.plain = make([]bool, len(r.Steps)), make([]bool, len(r.Steps)), make([]bool, len(r.Steps))
	for i := range r.Steps {
		m.plain[i] = plain(r.Steps[i].Action)
	}
	m.steps = make([]Step, len(r.Steps))
	return m, m.merge(r, now)
}

// merge takes in what the database says, save for steps that are busy. It returns the waits that have to be timed.
func (m *machine) merge(r Run, now time.Time) (waits map[int]time.Duration) {
	waits = map[int]time.Duration{}
	steps := r.Steps
	r.Steps = nil
	m.run, m.stale = r, false
	m.left = m.left[:0]
	for i := range steps {
		if m.busy[i] {
			continue
		}
		s := steps[i]
		m.steps[i] = s
		m.ended(&s)
		m.waiting[i] = false
		if s.Status == Running || s.undo == undoRunning {
			m.left = append(m.left, i)
		} else if left := s.notBefore.Sub(now); left > 0 {
			m.waiting[i] = true
			waits[i] = left
		}
	}
	m.arrange()
	return waits
}

func (m *machine) ended(s *Step) {
	m.order = max(m.order, s.ended)
	if s.ended > 0 && s.FinishedAt.After(m.last) {
		m.last = s.FinishedAt
	}
}

// arrange sorts the steps into levels and lanes.
func (m *machine) arrange() {
	byLevel := map[int]map[string]*lane{}
	m.levels, m.level = nil, 0
	var numbers []int
	for i := range m.steps {
		s := &m.steps[i]
		lanes := byLevel[s.Level]
		if lanes == nil {
			lanes = map[string]*lane{}
			byLevel[s.Level] = lanes
			numbers = append(numbers, s.Level)
		}
		if lanes[s.Lane] == nil {
			lanes[s.Lane] = &lane{}
		}
		lanes[s.Lane].steps = append(lanes[s.Lane].steps, i)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		var l level
		for _, ln := range byLevel[n] {
			slices.SortStableFunc(ln.steps, func(a, b int) int { return cmp.Compare(m.steps[a].Seq, m.steps[b].Seq) })
			l.lanes = append(l.lanes, ln)
		}
		// In the order of the spec, so that two engines do the same.
		slices.SortFunc(l.lanes, func(a, b *lane) int { return cmp.Compare(a.steps[0], b.steps[0]) })
		m.levels = append(m.levels, l)
	}
}

// continues says that a failed step does not stop the others.
func (m *machine) continues() bool { return m.run.OnFailure == OnFailureContinue }

func (m *machine) done(i int) bool {
	switch m.steps[i].Status {
	case Succeeded, Skipped:
		return true
	case Failed:
		return m.continues()
	}
	return false
}

// task is what to do with a step next.
type task int

const (
	taskDo   task = iota // begin an attempt
	taskSkip             // it stands behind a failed one
	taskUndo             // begin an attempt to undo it
)

type todo struct {
	step int
	task task
}

// next says which steps may begin, at most limit, and marks them busy.
func (m *machine) next(limit int) []todo {
	limit = min(limit, m.run.parallel-m.doing)
	if limit <= 0 || m.stale || m.settling {
		return nil
	}
	var out []todo
	for len(m.left) > 0 && len(out) < limit {
		i := m.left[0]
		m.left = m.left[1:]
		t := todo{i, taskDo}
		if m.steps[i].undo == undoRunning {
			t.task = taskUndo
		}
		out = append(out, t)
	}
	if m.run.Status == Running && len(m.left) == 0 {
		switch m.run.phase {
		case "":
			out = m.ready(out, limit)
		case rollingBack:
			if m.doing == 0 && len(out) == 0 {
				out = m.undoable(limit)
			}
		}
	}
	for _, t := range out {
		m.busy[t.step] = true
	}
	m.doing += len(out)
	return out
}

// ready appends the steps of the lowest open level that may begin.
func (m *machine) ready(out []todo, limit int) []todo {
	if failed := m.firstFailed(); failed >= 0 && !m.continues() {
		return out // a decision is due
	}
	m.advance()
	if m.level == len(m.levels) {
		return out
	}
	for _, ln := range m.levels[m.level].lanes {
		if ln.next == len(ln.steps) {
			continue
		}
		seq := m.steps[ln.steps[ln.next]].Seq
		for _, i := range ln.steps[ln.next:] {
			if len(out) == limit {
				return out
			}
			s := &m.steps[i]
			skip := ln.broken && s.Seq > ln.failed
			if s.Seq != seq && !skip {
				break
			}
			switch {
			case s.Status != Pending || m.busy[i]:
			case skip:
				out = append(out, todo{i, taskSkip})
			case !m.waiting[i]:
				out = append(out, todo{i, taskDo})
			}
		}
	}
	return out
}

// advance moves past what is over.
func (m *machine) advance() {
	for ; m.level < len(m.levels); m.level++ {
		open := false
		for _, ln := range m.levels[m.level].lanes {
			for ln.next < len(ln.steps) && m.done(ln.steps[ln.next]) && !m.busy[ln.steps[ln.next]] {
				if s := &m.steps[ln.steps[ln.next]]; s.Status == Failed && !ln.broken {
					ln.broken, ln.failed = true, s.Seq
				}
				ln.next++
			}
			open = open || ln.next < len(ln.steps)
		}
		if open {
			return
		}
	}
}

// firstFailed is the step that failed first, -1 for none.
func (m *machine) firstFailed() int {
	first := -1
	for i := range m.steps {
		if s := &m.steps[i]; s.Status == Failed && !m.busy[i] && (first < 0 || s.ended < m.steps[first].ended) {
			first = i
		}
	}
	return first
}

// mayHaveEffect says that a rollback must see to the step: it ended well, or was begun and may have done a part. One that was
// skipped at its first call had nothing to do.
func (s *Step) mayHaveEffect() bool {
	switch s.Status {
	case Succeeded:
		return true
	case Failed, Pending:
		return s.starts > 0
	case Skipped:
		return s.starts > 1
	}
	return false
}

// undoable gives what is undone next: the step that ended last, alone; those that never ended come first. Steps that have nothing
// to undo are taken together.
func (m *machine) undoable(limit int) []todo {
	last := func(a, b int) int { // the later of the two comes first
		if x, y := m.rank(a), m.rank(b); x != y {
			return cmp.Compare(y, x)
		}
		return cmp.Compare(b, a)
	}
	var open []int
	first := -1
	for i := range m.steps {
		if !m.steps[i].mayHaveEffect() {
			continue
		}
		open = append(open, i)
		if first < 0 || last(i, first) < 0 {
			first = i
		}
	}
	if first < 0 || m.waiting[first] || m.steps[first].undo == undoFailed {
		return nil
	}
	if !m.plain[first] {
		return []todo{{first, taskUndo}}
	}
	slices.SortFunc(open, last)
	var out []todo
	for _, i := range open {
		if !m.plain[i] || len(out) == limit {
			break
		}
		out = append(out, todo{i, taskUndo})
	}
	return out
}

func (m *machine) rank(i int) int64 {
	if m.steps[i].ended == 0 {
		return m.order + 1
	}
	return m.steps[i].ended
}

// transition is a change of a run's status that is due.
type transition struct{ status, phase, err string }

// settle says which change of the run's status is due, if any.
func (m *machine) settle() (transition, bool) {
	if m.stale || m.settling || m.run.Status != Running || len(m.left) > 0 {
		return transition{}, false
	}
	switch m.run.phase {
	case aborting:
		return transition{Aborted, "", m.run.Error}, m.doing == 0
	case rollingBack:
		return m.settleRollback()
	}
	failed := m.firstFailed()
	if failed >= 0 {
		why := "step " + m.steps[failed].ID + ": " + m.steps[failed].Error
		switch m.run.OnFailure {
		case OnFailurePause:
			return transition{Paused, "", why}, true
		case OnFailureRollback:
			return transition{Running, rollingBack, why}, true
		}
		m.advance()
		return transition{Failed, "", why}, m.level == len(m.levels) && m.doing == 0
	}
	m.advance()
	return transition{Succeeded, "", ""}, m.level == len(m.levels) && m.doing == 0
}

func (m *machine) settleRollback() (transition, bool) {
	if m.doing > 0 {
		return transition{}, false
	}
	open := false
	for i := range m.steps {
		s := &m.steps[i]
		if s.undo == undoFailed {
			return transition{Paused, rollingBack, "undoing step " + s.ID + ": " + s.Error}, true
		}
		open = open || s.mayHaveEffect()
	}
	return transition{RolledBack, "", m.run.Error}, !open
}

// record takes in what was committed for a step.
func (m *machine) record(i int, s Step) {
	m.steps[i] = s
	m.ended(&s)
}

// release says that a step is no longer in the engine's hands.
func (m *machine) release(i int) {
	if m.busy[i] {
		m.busy[i] = false
		m.doing--
	}
}
