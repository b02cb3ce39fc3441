package tenants

import (
	"slices"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// DefaultCurrency is what a tenant is billed in when nothing is said.
const DefaultCurrency = "USD"

// active lists the codes of ISO 4217 (list one, with its funds codes) that have a minor unit and no end date, by the digits of
// that unit. Codes without one (gold, silver, special drawing rights, test codes) are not money that an invoice can be
// written in.
var active = map[int]string{
	0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
	2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY " +
		"COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR " +
		"IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD " +
		"NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP " +
		"SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
	3: "BHD IQD JOD KWD LYD OMR TND",
	4: "CLF UYW",
}

// noMinorUnit are the codes of ISO 4217 whose minor unit is "N.A.".
const noMinorUnit = "XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA XXX"

// retired are codes of list three that people still type, with the first day on which they are no longer money and what
// came after them.
var retired = map[string]struct {
	from        string
	replacement string
}{
	"ANG": {"2025-07-01", "XCG"}, "ATS": {"2002-03-01", "EUR"}, "BEF": {"2002-03-01", "EUR"}, "BGN": {"2026-02-01", "EUR"},
	"BYR": {"2017-01-01", "BYN"}, "CUC": {"2021-06-30", "CUP"}, "CYP": {"2008-02-01", "EUR"}, "DEM": {"2002-03-01", "EUR"},
	"EEK": {"2011-01-15", "EUR"}, "ESP": {"2002-03-01", "EUR"}, "FIM": {"2002-03-01", "EUR"}, "FRF": {"2002-02-18", "EUR"},
	"GRD": {"2002-03-01", "EUR"}, "HRK": {"2023-01-15", "EUR"}, "IEP": {"2002-02-10", "EUR"}, "ITL": {"2002-03-01", "EUR"},
	"LTL": {"2015-01-16", "EUR"}, "LUF": {"2002-03-01", "EUR"}, "LVL": {"2014-01-15", "EUR"}, "MRO": {"2018-01-01", "MRU"},
	"MTL": {"2008-02-01", "EUR"}, "NLG": {"2002-01-29", "EUR"}, "PTE": {"2002-03-01", "EUR"}, "SIT": {"2007-01-15", "EUR"},
	"SKK": {"2009-01-17", "EUR"}, "SLL": {"2024-04-01", "SLE"}, "STD": {"2018-01-01", "STN"}, "TRL": {"2006-01-01", "TRY"},
	"VEF": {"2018-08-20", "VES"}, "ZMK": {"2013-01-01", "ZMW"}, "ZWL": {"2024-09-01", "ZWG"},
}

// checkCurrency says whether a tenant can be billed in code on the day of now. The error names field.
func checkCurrency(field, code string, now time.Time) error {
	for _, codes := range active {
		if len(code) == 3 && slices.Contains(strings.Fields(codes), code) {
			return nil
		}
	}
	problem := "is not a currency of ISO 4217"
	hint := "write an active code of ISO 4217 in capitals, such as USD, EUR or JPY"
	switch old, isOld := retired[code]; {
	case isOld && now.UTC().Format(time.DateOnly) < old.from:
		return nil
	case isOld:
		problem = "is no longer money since " + old.from
		hint = "use " + old.replacement + ", which came after it"
	case len(code) == 3 && slices.Contains(strings.Fields(noMinorUnit), code):
		problem = "has no minor unit, so no invoice can be written in it"
	case code != strings.ToUpper(code) && checkCurrency(field, strings.ToUpper(code), now) == nil:
		problem = "must be written in capitals: " + strings.ToUpper(code)
	}
	return omni.Errorf(omni.CodeInvalid, "%s: %s %s", field, shorten(code), problem).
		WithFields(omni.FieldError{Path: field, Message: problem}).WithHint("%s", hint)
}

// shorten keeps hostile input out of messages: at most 16 runes, quoted.
func shorten(s string) string {
	if runes := []rune(s); len(runes) > 16 {
		s = string(runes[:16]) + "…"
	}
	return `"` + strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s) + `"`
}
