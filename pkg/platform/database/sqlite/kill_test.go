package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
	"github.com/omnicloud/omnicloud/pkg/platform/database/sqlite"
)

// writeUntilKilled is what the child process does: it commits numbers and prints each when it is committed.
func writeUntilKilled() {
	ctx := context.Background()
	db, err := sqlite.Open(ctx, database.Infra, os.Getenv("OMNI_TEST_WRITER"), time.Now, sqlite.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := 1; ; i++ {
		err := db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
			if _, err := tx.Exec(ctx, `insert into t (n) values ($1)`, i); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `insert into t (n) values ($1)`, -i)
			return err
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(i)
	}
}

func TestKilledWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "infra.db")
	db := open(t, database.Infra, path, sqlite.Options{})
	mustExec(t, db, `create table t (n bigint)`)
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), "OMNI_TEST_WRITER="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := int64(0)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		n, err := strconv.ParseInt(strings.TrimSpace(lines.Text()), 10, 64)
		if err != nil {
			t.Errorf("the writer says %q", lines.Text())
			break
		}
		if acknowledged = n; n == 100 {
			_ = child.Process.Kill()
		}
	}
	_ = child.Wait()
	if acknowledged < 100 {
		t.Fatalf("only %d writes", acknowledged)
	}
	highest, err := number(t.Context(), db, `select max(n) from t`)
	if err != nil || highest < acknowledged || highest > acknowledged+1 {
		t.Errorf("%d was acknowledged and %d is there, %v", acknowledged, highest, err)
	}
	if sum, err := number(t.Context(), db, `select sum(n) from t`); err != nil || sum != 0 {
		t.Errorf("a transaction is there by half: %d, %v", sum, err)
	}
	mustExec(t, db, `insert into t (n) values (0)`)
}
