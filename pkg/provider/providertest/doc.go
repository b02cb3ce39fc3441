// Package providertest holds the contract of provider.Driver as one test, which every driver's own tests run against
// their implementation. It knows no driver.
package providertest
