public import Netlink
import SystemPackage

/// The kernel's table of expectations, over ctnetlink.
///
/// Needs `CAP_NET_ADMIN`, as ``FlowTable`` does. Corresponds to `conntrack -L expect`.
public enum ExpectationTable {
  /// Reads every expectation of both families.
  ///
  /// - Parameter namespace: The network namespace whose table it is.
  /// - Returns: The expectations.
  /// - Throws: ``ConntrackError``; also if one expectation's bytes make no sense.
  public static func dump(
    in namespace: NetworkNamespace = .current
  ) throws(ConntrackError) -> [Expectation] {
    let operation = "read the expectations"
    var result: [Expectation] = []
    var malformed: MalformedNetlink?
    do throws(NetlinkError) {
      var socket = try NetlinkSocket.open(.netfilter, in: namespace)
      let request = NetlinkRequest.conntrack(ConntrackMessage.getExpectation, family: nil)
      _ = try socket.dump(request, operation: operation) { message, payload in
        guard message.type == ConntrackMessage.newExpectation else { return true }
        do throws(MalformedNetlink) {
          result.append(try Expectation(message: payload))
        } catch {
          malformed = error
        }
        return true
      }
    } catch {
      throw ConntrackError(error)
    }
    if let malformed {
      throw ConntrackError(
        .malformed, operation: operation, message: "at byte \(malformed.offset) of a message")
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
