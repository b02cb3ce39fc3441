package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"

	"github.com/omnicloud/omnicloud/pkg/client"
	"github.com/omnicloud/omnicloud/pkg/omni"
)

// Console is one invocation of omnictl.
type Console struct {
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
	Environ func(string) string
	Now     func() time.Time
	Version string

	Server    string
	TokenFile string
	Context   string
	Output    string
	JQ        string
	Timeout   time.Duration
	NoInput   bool
	Yes       bool
	Verbose   bool
}

// defaultServer and defaultToken are where an omnid that was started without flags in this directory is.
const (
	defaultServer = "http://127.0.0.1:8000"
	defaultToken  = "omni-data/admin.token" //nolint:gosec // the name of a file
)

// Flags declares the global flags.
func (c *Console) Flags(flags *pflag.FlagSet) {
	flags.StringVar(&c.Server, "server", "", "address of omnid [OMNI_SERVER] (default "+defaultServer+")")
	flags.StringVar(&c.TokenFile, "token-file", "", "file with the API key [OMNI_TOKEN_FILE] (default ./"+defaultToken+")")
	flags.StringVar(&c.Context, "context", "", "named server and key of the configuration file [OMNI_CONTEXT]")
	flags.StringVarP(&c.Output, "output", "o", "table", "table, wide, json, jsonl, yaml or name")
	flags.StringVar(&c.JQ, "jq", "", "filter the JSON through this expression")
	flags.DurationVar(&c.Timeout, "timeout", 0, "give up after this long; 0 waits as long as it takes")
	flags.BoolVar(&c.NoInput, "no-input", false, "never ask; fail where an answer would be needed")
	flags.BoolVar(&c.Yes, "yes", false, "agree to moderate dangers without being asked")
	flags.BoolVarP(&c.Verbose, "verbose", "v", false, "say more, on stderr")
}

// Outputs are the forms that --output takes.
func Outputs() []string { return []string{"table", "wide", "json", "jsonl", "yaml", "name"} }

// Check refuses global flags that make no sense together.
func (c *Console) Check() error {
	if !slices.Contains(Outputs(), c.Output) {
		return Usage("--output: %q is none of %s", c.Output, strings.Join(Outputs(), ", "))
	}
	if c.JQ != "" && c.Output != "json" && c.Output != "jsonl" {
		c.Output = "json"
	}
	return nil
}

// CheckLimit refuses a bound of a list under which nothing could be shown.
func CheckLimit(limit int) error {
	if limit < 1 {
		return Usage("--limit: %d is not 1 or more", limit)
	}
	return nil
}

// fileConfig is $XDG_CONFIG_HOME/omnictl/config.yaml.
type fileConfig struct {
	Current  string                 `yaml:"current"`
	Contexts map[string]fileContext `yaml:"contexts"`
}

type fileContext struct {
	Server    string `yaml:"server"`
	TokenFile string `yaml:"token_file"`
	CAFile    string `yaml:"ca_file"`   // who must have signed the server's certificate, instead of the system's CAs
	CertFile  string `yaml:"cert_file"` // what to show a server that asks for a certificate
	KeyFile   string `yaml:"key_file"`
}

// Client connects as flags, environment, context and defaults say, in this order.
func (c *Console) Client() (*client.Client, error) {
	server, tokenFile, err := c.target()
	if err != nil {
		return nil, err
	}
	token, err := c.readToken(tokenFile)
	if err != nil {
		return nil, err
	}
	if c.Verbose {
		c.Say("server %s, key from %s", server, tokenFile)
	}
	transport, err := c.transport()
	if err != nil {
		return nil, err
	}
	return client.New(client.Options{Server: server, Token: token, UserAgent: "omnictl/" + c.Version, Transport: transport})
}

// Asking makes the body of a command that asks omnid: it connects, and hands the connection to fn.
func (c *Console) Asking(fn func(cmd *cobra.Command, api *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		api, err := c.Client()
		if err != nil {
			return err
		}
		return fn(cmd, api, args)
	}
}

// Target says in words which server is asked, with which key; "" when that is not known.
func (c *Console) Target() string {
	server, tokenFile, err := c.target()
	if err != nil {
		return ""
	}
	if _, err := os.Stat(tokenFile); err != nil {
		return server + ", without a key (there is no " + tokenFile + ")"
	}
	return server + ", key from " + tokenFile
}

// target decides which server to ask, with which key.
func (c *Console) target() (server, tokenFile string, err error) {
	named, err := c.named()
	if err != nil {
		return "", "", err
	}
	server = first(c.Server, c.Environ("OMNI_SERVER"), named.Server, defaultServer)
	tokenFile = first(c.TokenFile, c.Environ("OMNI_TOKEN_FILE"), named.TokenFile, defaultToken)
	return server, tokenFile, nil
}

func (c *Console) named() (fileContext, error) {
	home := c.Environ("XDG_CONFIG_HOME")
	if home == "" {
		home = filepath.Join(c.Environ("HOME"), ".config")
	}
	file := filepath.Join(home, "omnictl", "config.yaml")
	wanted := first(c.Context, c.Environ("OMNI_CONTEXT"))
	data, err := os.ReadFile(file) //nolint:gosec // the user's own configuration
	if errors.Is(err, fs.ErrNotExist) {
		if wanted != "" {
			return fileContext{}, Usage("--context: there is no %s that could hold %q", file, wanted)
		}
		return fileContext{}, nil
	}
	if err != nil {
		return fileContext{}, omni.Errorf(omni.CodeInvalid, "%s cannot be read: %w", file, err)
	}
	var config fileConfig
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true) // a misspelt one would be without effect
	if err := decoder.Decode(&config); err != nil && !errors.Is(err, io.EOF) {
		return fileContext{}, omni.Errorf(omni.CodeInvalid, "%s is not a configuration: %w", file, err).
			WithHint("it holds current: NAME, and contexts: {NAME: {server: URL, token_file: FILE, ca_file: FILE, cert_file: FILE, key_file: FILE}}")
	}
	name := first(wanted, config.Current)
	if name == "" {
		return fileContext{}, nil
	}
	found, ok := config.Contexts[name]
	if !ok {
		return fileContext{}, Usage("--context: %s holds no %q", file, name)
	}
	return found, nil
}

// maxToken bounds the file of a key, in bytes: a key has about 90.
const maxToken = 4 << 10

// readToken reads the key's file. No file at the default place is no key: the server then says whether one is needed.
func (c *Console) readToken(name string) (string, error) {
	data, mode, err := readBounded(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && name == defaultToken:
		return "", nil
	case errors.Is(err, fs.ErrPermission):
		return "", omni.Errorf(omni.CodeUnauthorized, "the key's file %s may not be read by you", name).
			WithHint("ask its owner, or name another with --token-file")
	case err != nil:
		return "", omni.Errorf(omni.CodeUnauthorized, "the key's file %s cannot be read: %w", name, err).
			WithHint("omnid writes the first one to admin.token in its data directory; name it with --token-file or OMNI_TOKEN_FILE")
	}
	token := strings.TrimSpace(string(data))
	if len(data) > maxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", omni.Errorf(omni.CodeUnauthorized, "%s is not the file of a key: it holds more than one word", name).
			WithHint("name a file with nothing but a key in it with --token-file or OMNI_TOKEN_FILE")
	}
	if mode.IsRegular() && mode.Perm()&0o004 != 0 {
		c.Say("omnictl: warning: everybody on this machine may read the key's file %s: chmod 600 it", name)
	}
	return token, nil
}

// readBounded reads at most one byte more than a key's file may have.
func readBounded(name string) (data []byte, mode fs.FileMode, err error) {
	file, err := os.Open(name) //nolint:gosec // the file that the user named
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	data, err = io.ReadAll(io.LimitReader(file, maxToken+1))
	return data, info.Mode(), err
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// WithTimeout bounds ctx by --timeout.
func (c *Console) WithTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.Timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.Timeout)
}

// Say writes a line for people to Err.
func (c *Console) Say(format string, args ...any) {
	_, _ = fmt.Fprintf(c.Err, format+"\n", args...) // nowhere left to complain to
}

// Interactive says whether Err is a terminal, so that progress may move on it.
func (c *Console) Interactive() bool {
	f, ok := c.Err.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && c.Environ("TERM") != "dumb"
}

// Color says whether colour may be used on Err (https://no-color.org).
func (c *Console) Color() bool { return c.Interactive() && c.Environ("NO_COLOR") == "" }

// asks says whether a question can be put to a person.
func (c *Console) asks() bool {
	f, ok := c.In.(*os.File)
	return ok && !c.NoInput && term.IsTerminal(int(f.Fd()))
}
