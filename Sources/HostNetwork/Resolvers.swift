public import Addressing
import Netlink
import SystemPackage

extension HostNetwork {
  /// The name servers the host asks.
  ///
  /// Where `/etc/resolv.conf` names systemd-resolved's stub (127.0.0.53, 127.0.0.54), the servers behind it are
  /// added from `/run/systemd/resolve/resolv.conf`. A missing file names none.
  ///
  /// - Returns: The addresses, each once, in order.
  public static func resolvers() -> [IPAddress] {
    let main = FilePath("/etc/resolv.conf")
    let behindStub = FilePath("/run/systemd/resolve/resolv.conf")
    // `current` can't fail to be entered.
    let files = (try? NetworkNamespace.current.readFiles([main, behindStub])) ?? [:]
    var result = files[main].map(nameServers) ?? []
    if result.contains(where: {
      $0.family == .ipv4 && [0x7f00_0035, 0x7f00_0036].contains($0.bits)
    }) {
      for server in files[behindStub].map(nameServers) ?? [] where !result.contains(server) {
        result.append(server)
      }
    }
    return result
  }

  /// The addresses of `nameserver` lines, each once; a zone (`%eth0`) is dropped.
  static func nameServers(_ text: String) -> [IPAddress] {
    var result: [IPAddress] = []
    for line in text.split(whereSeparator: \.isNewline) {
      let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
      guard words.count >= 2, words[0] == "nameserver",
        let host = words[1].split(separator: "%").first, let address = IPAddress(String(host)),
        !result.contains(address)
      else { continue }
      result.append(address)
    }
    return result
  }
}
