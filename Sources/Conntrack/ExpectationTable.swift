public import Netlink
import SystemPackage

/// The kernel's table of expectations, over ctnetlink.
///
/// Needs `CAP_NET_ADMIN`, as ``FlowTable`` does. Corresponds to `conntrack -L expect`.
public enum ExpectationTable {
  /// Reads every expectation of both families.
  ///
  /// - Parameter namespace: The network namespace whose table it is.
  /// - Returns: The expectations, and whether any may be missing.
  /// - Throws: ``ConntrackError``, if they can't be read.
  public static func dump(
    in namespace: NetworkNamespace = .current
  ) throws(ConntrackError) -> ExpectationDump {
    var result = ExpectationDump()
    do throws(NetlinkError) {
      var socket = try NetlinkSocket.open(.netfilter, in: namespace)
      let request = NetlinkRequest.conntrack(ConntrackMessage.getExpectation, family: nil)
      let dump = try socket.dump(request, operation: "read the expectations") {
        if $0.type == ConntrackMessage.newExpectation { result.take($1) }
        return true
      }
      result.isInterrupted = dump.isInterrupted
    } catch {
      throw ConntrackError(error)
    }
    return result
  }

  /// Deletes one expectation, named by tuple, zone and id.
  ///
  /// Flows it has admitted live on (facts A4d).
  ///
  /// - Parameters:
  ///   - expectation: The expectation as ``dump(in:)`` gave it.
  ///   - namespace: The network namespace whose table it is.
  /// - Returns: Whether it was there; `false` if it was gone.
  /// - Throws: ``ConntrackError``; with code `invalidKey` if its tuple has no ports.
  @discardableResult
  public static func delete(
    _ expectation: Expectation, in namespace: NetworkNamespace = .current
  ) throws(ConntrackError) -> Bool {
    let request = try deletion(of: expectation)
    do throws(NetlinkError) {
      var socket = try NetlinkSocket.open(.netfilter, in: namespace)
      try socket.request(request, operation: "delete an expectation")
      return true
    } catch  where error.code == .refused && error.errno == .noSuchFileOrDirectory {
      return false
    } catch {
      throw ConntrackError(error)
    }
  }

  /// The request that deletes one expectation; without a tuple it would empty the table.
  static func deletion(of expectation: Expectation) throws(ConntrackError) -> NetlinkRequest {
    try expectation.tuple.checkDeletable(operation: "delete an expectation")
    var request = NetlinkRequest.conntrack(
      ConntrackMessage.deleteExpectation, family: expectation.tuple.family)
    request.tuple(ConntrackAttribute.Expect.tuple, expectation.tuple)
    if expectation.zone != 0 {
      request.attribute(ConntrackAttribute.Expect.zone, bigEndian: expectation.zone)
    }
    request.attribute(ConntrackAttribute.Expect.id, bigEndian: expectation.id)
    return request
  }
}

/// The expectations that were read, and whether they can be all there were.
public struct ExpectationDump: Sendable, Hashable {
  /// The expectations.
  public var expectations: [Expectation] = []
  /// Number of expectations whose bytes made no sense; they are missing.
  public var malformed = 0
  /// Why some may be missing, a sentence each; empty when nothing is known to be.
  public var reasons: [String] {
    (malformed == 0 ? [] : ["\(malformed) expectations could not be decoded"])
      + (isInterrupted
        ? ["the kernel says that the expectations changed while they were read"] : [])
  }
  /// Whether the kernel said that entries may be missing.
  public var isInterrupted = false

  /// Makes the account of a table that holds nothing.
  public init() {}

  /// Takes one message's payload.
  mutating func take(_ payload: RawSpan) {
    do throws(MalformedNetlink) {
      expectations.append(try Expectation(message: payload))
    } catch {
      malformed += 1
    }
  }
}
