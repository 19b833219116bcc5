internal import Addressing

/// The options every rule may have, whatever extensions it uses.
enum BaseOptions {
  /// Letter by long name.
  static let long: [String: UInt8] = [
    "--source": UInt8(ascii: "s"), "--src": UInt8(ascii: "s"),
    "--destination": UInt8(ascii: "d"), "--dst": UInt8(ascii: "d"),
    "--protocol": UInt8(ascii: "p"),
    "--in-interface": UInt8(ascii: "i"), "--out-interface": UInt8(ascii: "o"),
    "--jump": UInt8(ascii: "j"), "--goto": UInt8(ascii: "g"),
    "--match": UInt8(ascii: "m"), "--fragments": UInt8(ascii: "f"),
    "--fragment": UInt8(ascii: "f"), "--set-counters": UInt8(ascii: "c"),
    "--verbose": UInt8(ascii: "v"), "--numeric": UInt8(ascii: "n"), "--exact": UInt8(ascii: "x"),
    "--wait": UInt8(ascii: "w"), "--wait-interval": UInt8(ascii: "W"),
    "--table": UInt8(ascii: "t"), "--modprobe": UInt8(ascii: "M"),
    "--ipv4": UInt8(ascii: "4"), "--ipv6": UInt8(ascii: "6"),
  ]

  static let commands: [String: UInt8] = [
    "-A": UInt8(ascii: "A"), "--append": UInt8(ascii: "A"), "-I": UInt8(ascii: "I"),
    "--insert": UInt8(ascii: "I"), "-N": UInt8(ascii: "N"), "--new-chain": UInt8(ascii: "N"),
    "--new": UInt8(ascii: "N"), "-P": UInt8(ascii: "P"), "--policy": UInt8(ascii: "P"),
    "-F": UInt8(ascii: "F"), "--flush": UInt8(ascii: "F"),
  ]

  static func takesArgument(_ letter: UInt8) -> Bool {
    switch letter {
    case UInt8(ascii: "s"), UInt8(ascii: "d"), UInt8(ascii: "p"), UInt8(ascii: "i"),
      UInt8(ascii: "o"), UInt8(ascii: "j"), UInt8(ascii: "g"), UInt8(ascii: "m"),
      UInt8(ascii: "c"), UInt8(ascii: "w"), UInt8(ascii: "W"), UInt8(ascii: "t"),
      UInt8(ascii: "M"):
      true
    default: false
    }
  }

  static func isFlag(_ letter: UInt8) -> Bool {
    switch letter {
    case UInt8(ascii: "f"), UInt8(ascii: "v"), UInt8(ascii: "n"), UInt8(ascii: "x"),
      UInt8(ascii: "4"), UInt8(ascii: "6"):
      true
    default: false
    }
  }

  static func mayInvert(_ letter: UInt8) -> Bool {
    switch letter {
    case UInt8(ascii: "s"), UInt8(ascii: "d"), UInt8(ascii: "p"), UInt8(ascii: "i"),
      UInt8(ascii: "o"), UInt8(ascii: "f"):
      true
    default: false
    }
  }

  /// Whether a rule may have it only once; -m, -v and the like may be repeated.
  static func isOnce(_ letter: UInt8) -> Bool {
    switch letter {
    case UInt8(ascii: "j"), UInt8(ascii: "g"), UInt8(ascii: "c"): true
    default: mayInvert(letter)
    }
  }

  /// The built-in chains, which exist without being declared.
  static let builtInChains: Set<String> = [
    "PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING",
  ]

  /// `-s` for any spelling of it: two spellings of one option are no ambiguity.
  static func canonical(_ longName: String) -> String? { long[longName].map(name) }

  static func name(_ letter: UInt8) -> String {
    switch letter {
    case UInt8(ascii: "s"): "-s"
    case UInt8(ascii: "d"): "-d"
    case UInt8(ascii: "i"): "-i"
    case UInt8(ascii: "o"): "-o"
    case UInt8(ascii: "p"): "-p"
    default: "-" + String(UnicodeScalar(letter))
    }
  }

  static func wanted(_ letter: UInt8) -> String {
    switch letter {
    case UInt8(ascii: "s"), UInt8(ascii: "d"): "an address"
    case UInt8(ascii: "p"): "a protocol"
    default: "an interface"
    }
  }

  /// What should have stood where this value of `-s`, `-d`, `-i`, `-o` or `-p` is, if it cannot be.
  static func fault(_ letter: UInt8, _ value: String, _ family: AddressFamily) -> String? {
    switch letter {
    case UInt8(ascii: "i"), UInt8(ascii: "o"):
      return value.isEmpty || value.utf8.count > 15 ? "an interface name of 1 to 15 bytes" : nil
    case UInt8(ascii: "p"):
      if value.isEmpty { return "a protocol" }
      if let number = Int(value) {
        return (0...255).contains(number) ? nil : "a protocol number from 0 to 255"
      }
      return value.utf8.contains { $0 <= 0x20 || $0 == UInt8(ascii: "!") } ? "a protocol" : nil
    default:
      if family == .ipv4 && isDottedQuad(value) { return nil }
      for part in value.split(separator: ",", omittingEmptySubsequences: false)
      where !isAddress(part, family) {
        return family == .ipv4 ? "an IPv4 address or network" : "an IPv6 address or network"
      }
      return nil
    }
  }

  /// Whether this can be an address, network or host name.
  private static func isAddress(_ text: Substring, _ family: AddressFamily) -> Bool {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let host = parts.first, !host.isEmpty else { return false }
    if let address = IPAddress(String(host)) {
      guard address.family == family else { return false }
    } else if family == .ipv6 && host.utf8.contains(UInt8(ascii: ":"))
      || !host.utf8.contains(where: { isLetter($0) })
    {
      // 10/8 and 192.168/16 are old short forms that iptables still takes.
      guard family == .ipv4, isShortIPv4(host) else { return false }
    } else if !host.utf8.allSatisfy({
      isLetter($0) || isDigit($0) || $0 == 0x2D || $0 == 0x2E || $0 == 0x5F
    }) {
      return false
    }
    guard parts.count == 2 else { return true }
    if let length = Int(parts[1]), !parts[1].hasPrefix("+") {
      return (0...family.bitWidth).contains(length)
    }
    return IPAddress(String(parts[1]))?.family == family
  }

  /// Whether this is `a.b.c.d` or `a.b.c.d/length` in decimal: nearly every address of a save.
  private static func isDottedQuad(_ text: String) -> Bool {
    var value = 0
    var digits = 0
    var dots = 0
    var inLength = false
    for byte in text.utf8 {
      if isDigit(byte) {
        value = value * 10 + Int(byte - 0x30)
        digits += 1
        if digits > 3 || value > (inLength ? 32 : 255) { return false }
      } else if byte == UInt8(ascii: "."), digits > 0, dots < 3, !inLength {
        dots += 1
        value = 0
        digits = 0
      } else if byte == UInt8(ascii: "/"), digits > 0, dots == 3, !inLength {
        inLength = true
        value = 0
        digits = 0
      } else {
        return false
      }
    }
    return dots == 3 && digits > 0
  }

  private static func isShortIPv4(_ host: Substring) -> Bool {
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count <= 4
      && parts.allSatisfy { part in
        !part.isEmpty && (Int(part).map { (0...255).contains($0) } ?? false)
      }
  }

  private static func isLetter(_ byte: UInt8) -> Bool {
    let lower = byte | 0x20
    return lower >= UInt8(ascii: "a") && lower <= UInt8(ascii: "z")
  }

  private static func isDigit(_ byte: UInt8) -> Bool {
    byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
  }
}
