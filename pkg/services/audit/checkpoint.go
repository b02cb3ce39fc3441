package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is what a signed note says of a log.
type Checkpoint struct {
	Tenant string
	Size   int64
	Root   tlog.Hash
}

// origin is the first line of a checkpoint: it keeps the checkpoint of one log from serving as that of another.
func origin(tenant string) string { return "omnicloud.audit/" + tenant }

// sign writes the checkpoint as a note.
func (k *keys) sign(c Checkpoint) (string, error) {
	text := fmt.Sprintf("%s\n%d\n%s\n", origin(c.Tenant), c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, k.signer)
	return string(signed), err
}

// errForeign says that a checkpoint is signed, but not with our key.
var errForeign = errors.New("the checkpoint is not signed with this installation's audit key")

// open checks the signature of a note and reads the checkpoint of tenant's log from it.
func (k *keys) open(tenant, signed string) (Checkpoint, error) {
	n, err := note.Open([]byte(signed), note.VerifierList(k.verifier))
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unverified):
		return Checkpoint{}, errForeign
	case err != nil:
		return Checkpoint{}, errors.New("the checkpoint's signature is not valid")
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 || lines[0] != origin(tenant) {
		return Checkpoint{}, errors.New("the checkpoint belongs to another log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return Checkpoint{}, errors.New("the checkpoint has no size")
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return Checkpoint{}, errors.New("the checkpoint has no root")
	}
	return Checkpoint{Tenant: tenant, Size: size, Root: root}, nil
}
