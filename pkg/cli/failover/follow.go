package failover

import (
	"context"
	"errors"
	"os"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/omnicloud/omnicloud/pkg/cli/console"
	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/failover"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// lookEvery is how often a followed run is asked for; frames are drawn ten times a second.
const (
	lookEvery  = 200 * time.Millisecond
	frameEvery = 100 * time.Millisecond
)

// Follow shows a run until it is over, or waits for somebody (until is then false), or ctx ends: live on a terminal, plain
// lines elsewhere. It never changes the run: Ctrl-C detaches.
func Follow(ctx context.Context, c *console.Console, api *client.Client, id string) (failover.Run, error) {
	if c.Interactive() && c.Output == "table" {
		return followLive(ctx, c, api, id)
	}
	seen := map[string]failover.StepStatus{}
	var run failover.Run
	status := failover.Status("")
	err := client.Poll(ctx, lookEvery, func(ctx context.Context) (bool, error) {
		var err error
		if run, err = api.Failover(ctx, id); err != nil {
			return false, err
		}
		for _, line := range changes(seen, run) {
			c.Say("%6.1fs  %s", c.Now().Sub(run.InitiatedAt).Seconds(), line)
		}
		if run.Status != status {
			status = run.Status
			c.Say("%6.1fs  %s", c.Now().Sub(run.InitiatedAt).Seconds(), status)
		}
		return rests(run.Status), nil
	})
	return run, detached(c, id, err)
}

// rests says whether nothing more happens to the run by itself.
func rests(s failover.Status) bool {
	return !s.Alive() || s == failover.Paused || s == failover.AwaitingApproval
}

// detached says how to look again, when the user left before the run was over.
func detached(c *console.Console, id string, err error) error {
	if err != nil && (errors.Is(err, context.Canceled) || omni.Is(err, omni.CodeUnfinished)) {
		c.Say("The run goes on without you. Look again: omnictl failover watch %s", id)
	}
	return err
}

type (
	lookedMsg struct {
		run  failover.Run
		err  error
		took time.Duration
	}
	frameMsg time.Time
)

// model is the live view (inline, not on a screen of its own, so that it stays in the scrollback).
type model struct {
	ctx   context.Context //nolint:containedctx // bubbletea gives its commands no other way to a context
	api   *client.Client
	id    string
	look  look
	now   func() time.Time
	run   failover.Run
	err   error
	frame int
	left  bool
}

func (m model) Init() tea.Cmd { return tea.Batch(m.ask(0), frame()) }

func (m model) ask(after time.Duration) tea.Cmd {
	return tea.Tick(after, func(time.Time) tea.Msg {
		asked := m.now()
		run, err := m.api.Failover(m.ctx, m.id)
		return lookedMsg{run, err, m.now().Sub(asked)}
	})
}

func frame() tea.Cmd { return tea.Tick(frameEvery, func(t time.Time) tea.Msg { return frameMsg(t) }) }

func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case frameMsg:
		m.frame++
		return m, frame()
	case lookedMsg:
		if msg.err != nil && !omni.Is(msg.err, omni.CodeUnavailable) {
			m.err = msg.err
			return m, tea.Quit
		}
		if msg.err == nil {
			m.run = msg.run
			if rests(m.run.Status) {
				return m, tea.Quit
			}
		}
		return m, m.ask(max(lookEvery, 9*msg.took)) // a run of thousands of steps is not asked for all the time
	case tea.KeyMsg:
		if msg.String() == "ctrl+c" || msg.String() == "q" {
			m.left = true
			return m, tea.Quit
		}
	}
	return m, nil
}

func (m model) View() string {
	if m.run.ID == "" {
		return ""
	}
	return render(m.run, m.now(), m.frame, m.look)
}

func followLive(ctx context.Context, c *console.Console, api *client.Client, id string) (failover.Run, error) {
	options := []tea.ProgramOption{tea.WithContext(ctx), tea.WithOutput(c.Err), tea.WithoutSignalHandler()}
	if in, ok := c.In.(*os.File); ok {
		options = append(options, tea.WithInput(in))
	}
	program := tea.NewProgram(model{ctx: ctx, api: api, id: id, look: newLook(c.Color()), now: c.Now}, options...)
	final, err := program.Run()
	if errors.Is(err, tea.ErrProgramKilled) || errors.Is(err, tea.ErrInterrupted) {
		err = context.Canceled
	}
	m, _ := final.(model)
	if err == nil {
		err = m.err
	}
	if m.left && err == nil {
		err = context.Canceled
	}
	return m.run, detached(c, id, err)
}
