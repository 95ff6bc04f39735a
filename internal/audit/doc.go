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
// The names that entries use: entity is "user", "restaurant", "menuItem" or "order"; action is a verb such as "register",
// "create" or "place"; before and after have the field names of the API.
package audit
