package catalog

import (
	"strings"

	"github.com/google/uuid"

	"speedybites/internal/validation"
)

// Limits in characters, and of a price in cents.
const (
	maxName        = 120
	maxCuisine     = 60
	maxDescription = 2000
	maxAddress     = 300
	maxSearch      = 120
	maxPriceCents  = 10_000_000
)

const defaultCurrency = "USD"

const (
	roleOwner = "owner"
	roleAdmin = "admin"
)

func (n NewRestaurant) validate() error {
	var errs validation.Errors
	errs.Line("name", n.Name, 1, maxName)
	errs.Line("cuisine", n.Cuisine, 1, maxCuisine)
	errs.Text("description", n.Description, 0, maxDescription)
	errs.Text("address", n.Address, 1, maxAddress)
	return errs.Err()
}

func (n NewRestaurant) restaurant(id, owner uuid.UUID) Restaurant {
	return Restaurant{
		ID: id, OwnerID: owner, Name: n.Name, Cuisine: n.Cuisine, Description: n.Description, Address: n.Address,
		Open: n.Open == nil || *n.Open,
	}
}

func (n NewMenuItem) validate() error {
	var errs validation.Errors
	errs.Line("name", n.Name, 1, maxName)
	errs.Text("description", n.Description, 0, maxDescription)
	if n.PriceCents == nil {
		errs.Add("priceCents", "is required")
	} else {
		errs.Range("priceCents", *n.PriceCents, 0, maxPriceCents)
	}
	if n.Currency != "" && !knownCurrency(n.Currency) {
		errs.Add("currency", "must be an ISO 4217 code such as USD")
	}
	return errs.Err()
}

func (n NewMenuItem) menuItem(id, restaurant uuid.UUID) MenuItem {
	m := MenuItem{
		ID: id, RestaurantID: restaurant, Name: n.Name, Description: n.Description, PriceCents: *n.PriceCents,
		Currency: n.Currency, Available: n.Available == nil || *n.Available,
	}
	if m.Currency == "" {
		m.Currency = defaultCurrency
	}
	return m
}

// currencies are the active codes of ISO 4217, without metals, funds and test codes: nobody sells a pizza for XAU.
const currencies = " AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD" +
	" CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD" +
	" HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD" +
	" MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG" +
	" QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD" +
	" TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG "

func knownCurrency(code string) bool {
	return len(code) == 3 && strings.Contains(currencies, " "+code+" ")
}
