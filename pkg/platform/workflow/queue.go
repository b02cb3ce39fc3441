package workflow

import "sync"

// queue hands values to one reader without ever blocking a writer. What is in it is bounded by the steps that may be under way.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
	ready chan struct{} // receives when there is something to take
}

func newQueue[T any]() *queue[T] { return &queue[T]{ready: make(chan struct{}, 1)} }

func (q *queue[T]) push(items ...T) {
	if len(items) == 0 {
		return
	}
	q.mu.Lock()
	q.items = append(q.items, items...)
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default: // the reader has yet to see that there is something
	}
}

// take gives everything that has gathered, in order.
func (q *queue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = nil
	return items
}
