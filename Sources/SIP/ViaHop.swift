public import Addressing

/// One hop of Via: by what transport a request came, and where its answers go.
public struct ViaHop: Sendable, Hashable {
  /// The protocol and version, such as `SIP/2.0`.
  public var version: String
  /// The transport as written: `UDP`, `TCP`, `TLS`, `WS` or anything.
  public var transport: String
  /// The host of sent-by, without brackets.
  public var host: String
  /// The host as an address, if it is one.
  public var address: IPAddress?
  /// The port of sent-by.
  public var port: UInt16?
  /// The parameters in order.
  public var parameters: [Parameter]
  /// The whole value as written, unfolded.
  public var text: String

  /// The `branch` parameter.
  public var branch: String? { parameters.first(named: "branch")?.value }

  /// Host and port as written in sent-by.
  public var sentBy: String {
    let name = address?.family == .ipv6 ? "[\(host)]" : host
    return port.map { "\(name):\($0)" } ?? name
  }
}

extension ViaHop {
  /// Reads one value; `nil` when there is no host in it.
  init?(_ bytes: Bytes, problems: inout [Problem]) {
    let bytes = bytes.trimmed
    text = bytes.text
    parameters = []
    let parts = bytes.split(separator: 0x2f, maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count == 3 else {
      problems.append(.malformedHeader("Via"))
      return nil
    }
    version = "\(parts[0].trimmed.text)/\(parts[1].trimmed.text)"
    let tail = parts[2].trimmed
    let end = tail.firstIndex(where: \.isBlank) ?? tail.endIndex
    transport = tail[..<end].text
    let rest = tail[end...]
    let semicolon = rest.firstIndex(of: 0x3b) ?? rest.endIndex
    guard let place = HostPort(rest[..<semicolon]), !transport.isEmpty else {
      problems.append(.malformedHeader("Via"))
      return nil
    }
    host = place.host
    address = place.address
    port = place.port
    if !place.isWellFormed { problems.append(.malformedHeader("Via")) }
    if version.uppercased() != "SIP/2.0" { problems.append(.unsupportedVersion) }
    guard semicolon < rest.endIndex else { return }
    let list = Parameter.list(rest[(semicolon + 1)...])
    parameters = list.parameters
    problems += list.problems.map { $0.problem(in: "Via") }
  }
}
