// Package audit records every change in the table audit_log, in the change's own transaction, and relays the committed
// rows to audit.log.
//
// A change and its entry commit together, so no change is without an entry and no entry without its change. The relay
// turns each entry into exactly one line of the file, whenever the process is killed:
//
//	read entries without exported_at → write their lines → sync the file → set exported_at → COMMIT
//
// A crash before the sync may leave some of the lines, and a torn one. A crash after it leaves all lines and no marks.
// So before it writes anything, at the start and after every failure, the relay looks at the end of the file: it cuts
// off a torn line, and marks the entries whose lines are there. Nothing is written before that mark has committed;
// hence the lines without a mark are never more than one batch, and the last lines of the file, which bounds how far
// back the relay has to look.
//
// The lines are chained by their hashes, across files and starts; package chain says how, and checks it. The relay finds
// the chain's head at the end of the file. The transaction that sets exported_at also keeps the head in the table
// audit_chain, for what the files alone cannot tell:
//
//	file ends behind the table's head   a crash before COMMIT; the file counts
//	file ends before the table's head   lines were cut off; the chain goes on behind the table's head, which leaves a gap
//	no lines, and the table has a head  the files were deleted; a new chain begins, and its first line names the old one
//	no lines, and no head               the first start
//
// The first line of a chain is an entry as well (action "begin", entity "auditChain"), so that every line has its row and
// every row its line.
//
// What happens outside of transactions, such as an outage of the database, is handed to Relay.Record, which keeps it in
// memory until it can be a row.
//
// The names that entries use: entity is "user", "restaurant", "menuItem" or "order"; action is a verb such as "register",
// "create" or "place"; before and after have the field names of the API.
package audit
