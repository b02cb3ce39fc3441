// Package omnicloud is the top of the module; the README maps the tree. Only arch_test.go, which holds the import rules, stands here.
package omnicloud
