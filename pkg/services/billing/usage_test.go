package billing_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/omnicloud/omnicloud/pkg/services/billing"
)

func TestThePartsOfAnIntervalSumUpToTheWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		moment := rapid.Int64Range(0, 1<<52)
		cuts := rapid.SliceOfN(rapid.OneOf(moment, rapid.Int64Range(1_700_000_000_000_000, 1_700_000_010_000_000)), 2, 20).Draw(t, "cuts")
		slices.Sort(cuts)
		var sum int64
		for i := 1; i < len(cuts); i++ {
			part := billing.Seconds(cuts[i-1], cuts[i])
			if part < 0 {
				t.Fatalf("[%d, %d) counts %d", cuts[i-1], cuts[i], part)
			}
			sum += part
		}
		start, end := cuts[0], cuts[len(cuts)-1]
		whole := billing.Seconds(start, end)
		if sum != whole {
			t.Fatalf("the parts sum up to %d, the whole is %d", sum, whole)
		}
		if low, high := (end-start)/1_000_000, (end-start+999_999)/1_000_000; whole < low || whole > high {
			t.Fatalf("[%d, %d) counts %d, want %d or %d", start, end, whole, low, high)
		}
	})
}

func TestSecondsAreThoseThatBeginWithin(t *testing.T) {
	t.Parallel()
	const s = 1_000_000
	for _, c := range []struct{ start, end, want int64 }{
		{0, 0, 0},
		{0, 1, 1},
		{1, s, 0},
		{1, s + 1, 1},
		{5 * s, 15 * s, 10},
		{5*s + 1, 15*s + 1, 10},
		{5 * s, 4 * s, 0},
	} {
		if got := billing.Seconds(c.start, c.end); got != c.want {
			t.Errorf("[%d, %d): %d, want %d", c.start, c.end, got, c.want)
		}
	}
}
