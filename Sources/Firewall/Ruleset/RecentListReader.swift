internal import Addressing

/// Reads the text that ``RecentListReader/script`` prints.
///
/// A line `list HEX` opens a list: its name's bytes in hexadecimal, since a name may hold newlines and
/// quotes (facts F14). The kernel's own lines follow, each of which begins with `src=`.
enum RecentListReader {
  /// Prints the lists of the namespace it runs in; exit status 10: the kernel has none.
  static let script = """
    test -d /proc/net/xt_recent || exit 10
    cd /proc/net/xt_recent || exit 11
    for f in * .[!.]* ..?*; do
      test -f "./$f" || continue
      h=$(printf %s "$f" | od -An -v -tx1 | tr -d ' \\n') || exit 11
      printf 'list %s\\n' "$h"
      cat "./$f" || exit 11
    done
    """

  static func read(_ bytes: [UInt8], source: String) throws(FirewallError) -> [RecentList] {
    var lists: [RecentList] = []
    // The kernel's files are ASCII and so is a name in hexadecimal.
    for (index, line) in bytes.split(separator: 10, omittingEmptySubsequences: false).enumerated()
    where !line.isEmpty {
      func malformed(_ expected: String) -> FirewallError {
        FirewallError(
          .malformed, operation: "read the recent lists", file: source, line: index + 1, column: 1,
          expected: expected, found: String(decoding: line.prefix(60), as: UTF8.self))
      }
      if line.starts(with: "list ".utf8) {
        guard let name = name(line.dropFirst(5)) else {
          throw malformed("\"list\" and a name in hexadecimal")
        }
        lists.append(RecentList(name: name))
        continue
      }
      guard let last = lists.indices.last else { throw malformed("\"list\"") }
      guard let entry = entry(line) else {
        throw malformed("\"src=ADDRESS ttl: N last_seen: N oldest_pkt: N STAMP, ...\"")
      }
      lists[last].entries.append(entry)
    }
    return lists
  }

  private static func name(_ hex: ArraySlice<UInt8>) -> String? {
    guard !hex.isEmpty, hex.count.isMultiple(of: 2) else { return nil }
    var bytes: [UInt8] = []
    var rest = hex
    while let high = rest.popFirst(), let low = rest.popFirst() {
      guard let high = digit(high), let low = digit(low) else { return nil }
      bytes.append(high << 4 | low)
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x61...0x66: byte - 0x61 + 10
    default: nil
    }
  }

  private static func entry(_ line: ArraySlice<UInt8>) -> RecentList.Entry? {
    let words = line.split(separator: 0x20).map { String(decoding: $0, as: UTF8.self) }
    guard words.count >= 7, words[0].hasPrefix("src="), words[1] == "ttl:",
      words[3] == "last_seen:", words[5] == "oldest_pkt:",
      let address = IPAddress(String(words[0].dropFirst(4))), let ttl = UInt8(words[2]),
      let lastSeen = UInt64(words[4]), UInt64(words[6]) != nil
    else { return nil }
    var stamps: [UInt64] = []
    for word in words.dropFirst(7) {
      guard let stamp = UInt64(word.hasSuffix(",") ? String(word.dropLast()) : word) else {
        return nil
      }
      stamps.append(stamp)
    }
    return RecentList.Entry(address: address, ttl: ttl, lastSeen: lastSeen, stamps: stamps)
  }
}
