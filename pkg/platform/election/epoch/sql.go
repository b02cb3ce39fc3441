package epoch

const takeSQL = `
insert into leadership (id, epoch, holder, taken_at) values (1, 1, $1, $2)
on conflict (id) do update set epoch = leadership.epoch + 1, holder = excluded.holder, taken_at = excluded.taken_at
returning epoch`

// The lock makes a takeover wait for this transaction, and this one see a takeover that was first. A plain select would read
// the old epoch beside an uncommitted takeover and let a deposed leader commit.
const fencePostgres = `select epoch from leadership where id = 1 for share`

const fenceSQLite = `select epoch from leadership where id = 1`

const currentSQL = `select epoch, holder, taken_at from leadership where id = 1`
