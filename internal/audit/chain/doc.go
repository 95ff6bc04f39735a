// Package chain links the lines of a log by their hashes, and checks the links.
//
// Every line is a JSON object whose last four members are, in this order and without spaces,
//
//	"chainId":"<uuid>","seq":<n>,"prevHash":"<64 hex digits>","hash":"<64 hex digits>"
//
// hash is the SHA-256 of the 64 digits of prevHash followed by the bytes of the line without its hash member and without
// its line break, that is, with everything from the last ,"hash": on replaced by a closing brace. No JSON has to be
// understood or normalized to check a line:
//
//	while IFS= read -r line; do
//		hash=${line##*\"hash\":\"}; hash=${hash%\"\}}
//		prev=${line##*\"prevHash\":\"}; prev=${prev%%\"*}
//		sum=$(printf '%s%s}' "$prev" "${line%,\"hash\":*}" | sha256sum)
//		[ "${sum%% *}" = "$hash" ] && [ "${last:-$prev}" = "$prev" ] || echo "broken: $line"
//		last=$hash
//	done
//
// A chain begins with a line of seq 1, the genesis, whose prevHash is all zeros and whose auditId is the chainId. Its
// after.previous is the head of the chain that the same stream had before, or null. Each further line has the next seq,
// and as its prevHash the hash of the line before, whichever file that is in.
//
// What this proves: no line between two others was changed, removed, inserted or moved since the later of the two was
// written. It has no key, so whoever can write the files can also build a new chain, and a chain whose end is cut off is
// a shorter chain. Both are found by comparing with a copy of the head that is kept elsewhere: see Options.Known.
package chain
