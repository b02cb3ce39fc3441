package database

import (
	"database/sql/driver"
	"fmt"
	"time"
)

// layout is fixed in width, so that text order is time order on SQLite; PostgreSQL reads it as timestamptz.
const layout = "2006-01-02T15:04:05.000000Z"

// Time is how a moment is written to and read from either kind of database: UTC, in microseconds. The zero time is
// NULL.
type Time time.Time

// Value implements driver.Valuer.
func (t Time) Value() (driver.Value, error) {
	if time.Time(t).IsZero() {
		return nil, nil
	}
	return time.Time(t).UTC().Truncate(time.Microsecond).Format(layout), nil
}

// Scan implements sql.Scanner.
func (t *Time) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*t = Time{}
	case time.Time:
		*t = Time(v.UTC())
	case string:
		parsed, err := time.Parse(layout, v)
		if err != nil {
			return fmt.Errorf("a stored time is not one: %w", err)
		}
		*t = Time(parsed)
	case []byte:
		return t.Scan(string(v))
	default:
		return fmt.Errorf("a stored time has the type %T", src)
	}
	return nil
}

// Std gives the time.Time.
func (t Time) Std() time.Time { return time.Time(t) }
