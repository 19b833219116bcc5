public import Addressing
import Netlink
public import SystemPackage

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

  /// The name servers that files of a container name.
  ///
  /// The files are another's: symbolic links at their end are not followed, and what is no regular
  /// file is not read.
  ///
  /// - Parameter files: Files in `resolv.conf`'s form.
  /// - Returns: The addresses, each once; `nil` if none of the files could be read.
  public static func resolvers(files: [FilePath]) -> [IPAddress]? {
    var result: [IPAddress]?
    for path in files {
      guard let text = foreignText(path) else { continue }
      var known = result ?? []
      for server in nameServers(text) where !known.contains(server) { known.append(server) }
      result = known
    }
    return result
  }

  private static func foreignText(_ path: FilePath) -> String? {
    guard
      let file = try? FileDescriptor.open(
        path, .readOnly, options: [.closeOnExec, .noFollow, .nonBlocking])
    else { return nil }
    defer { try? file.close() }
    guard (try? file.stat())?.type == .regular else { return nil }
    var bytes = [UInt8](repeating: 0, count: 65536)
    guard let count = try? unsafe bytes.withUnsafeMutableBytes({ try unsafe file.read(into: $0) })
    else { return nil }
    return String(decoding: bytes[..<count], as: UTF8.self)
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
