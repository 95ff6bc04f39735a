// Package cluster knows whether the database can be reached, from one connection of its own outside any pool.
//
// While connected, the monitor pings that connection every second, and at once when a query has failed. A ping that
// fails is followed by one fresh login before anybody is told, so that a lost session is not taken for a lost server:
//
//	ping fails ── login works ──▶ still connected, next epoch (the sessions are gone, the server is not)
//	          └── login fails ──▶ lost
//
// While lost, it tries a login every 400 to 800 ms. Attempts overlap, because one that a dead network swallowed must
// not keep the next from finding the server. Nobody else dials while the database is lost: everyone reads View.
//
// A server that accepts connections and then says nothing is found within Heartbeat + PingTimeout + LoginTimeout, 4.5 s
// by default.
package cluster
