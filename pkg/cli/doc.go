// Package cli is omnictl: the root command, and the list of all its commands.
//
// There is one folder a noun and one file a verb; what commands share is in console. Verbs that are nouns' business stay in
// the noun's folder, also where the user types them at the top (apply, get).
//
// It never opens a store and never decides: omnid does.
package cli
