package console

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// ConfirmName guards a severe danger: the name must come by --confirm, or be typed on a terminal. what completes "This will …".
func (c *Console) ConfirmName(name, given, what string) error {
	switch {
	case given == name:
		return nil
	case given != "":
		return omni.Errorf(omni.CodeRefused, "--confirm says %q, but this is about %q", given, name).
			WithHint("repeat the command with --confirm %s if that is what you want", name)
	case !c.asks():
		return omni.Errorf(omni.CodeRefused, "this would %s; it is not done without a confirmation", what).
			WithHint("add --confirm %s", name)
	}
	c.Say("This will %s.", what)
	answer := c.ask("Type %s to go on: ", name)
	if answer != name {
		return omni.Errorf(omni.CodeRefused, "not confirmed: nothing was done")
	}
	return nil
}

// ConfirmYes guards a moderate danger: --yes, or y on a terminal.
func (c *Console) ConfirmYes(what string) error {
	switch {
	case c.Yes:
		return nil
	case !c.asks():
		return omni.Errorf(omni.CodeRefused, "this would %s; it is not done without a confirmation", what).WithHint("add --yes")
	}
	if answer := strings.ToLower(c.ask("This will %s. Go on? [y/N] ", what)); answer != "y" && answer != "yes" {
		return omni.Errorf(omni.CodeRefused, "not confirmed: nothing was done")
	}
	return nil
}

func (c *Console) ask(format string, args ...any) string {
	_, _ = fmt.Fprintf(c.Err, format, args...)        // nowhere left to complain to
	line, _ := bufio.NewReader(c.In).ReadString('\n') // an end of input is an empty answer, which refuses
	return strings.TrimSpace(line)
}
