package auth

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// useInterval is how often a key's last use is written at most.
const useInterval = time.Minute

// touch notes that a key was used. It is written later, by Run, so that no request waits for it.
func (s *Service) touch(k Key, now time.Time) {
	if k.LastUsedAt != nil && now.Sub(*k.LastUsedAt) < useInterval {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.used) < cacheEntries {
		s.used[k.ID] = now
	}
}

// Run writes the last uses of keys, once a minute, until ctx ends, and then those that are left.
func (s *Service) Run(ctx context.Context) error {
	ticker := time.NewTicker(useInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.flushOrLog(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			s.flushOrLog(last)
			return nil
		}
	}
}

func (s *Service) flushOrLog(ctx context.Context) {
	if err := s.Flush(ctx); err != nil {
		s.log.WarnContext(ctx, "the last use of API keys could not be written; it will be tried again", slog.String("error", err.Error()))
	}
}

// Flush writes the last uses that are known now.
func (s *Service) Flush(ctx context.Context) error {
	s.mu.Lock()
	uses := s.used
	s.used = map[string]time.Time{}
	s.mu.Unlock()
	if len(uses) == 0 {
		return nil
	}
	err := s.db.Write(ctx, database.Platform(), func(ctx context.Context, tx *database.Tx) error {
		for _, id := range slices.Sorted(maps.Keys(uses)) { // in one order, so that replicas do not lock crosswise
			if err := touchKey(ctx, tx, id, uses[id]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.mu.Lock()
		for id, at := range uses {
			if s.used[id].Before(at) && len(s.used) < cacheEntries {
				s.used[id] = at
			}
		}
		s.mu.Unlock()
	}
	return err
}
