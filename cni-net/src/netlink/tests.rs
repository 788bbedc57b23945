//! Datagrams of every kind, and answers that belong to no request.

use super::*;
use proptest::prelude::*;

/// The answer of Linux 6.18 to RTM_NEWLINK for a second port: EBUSY with a text, capped.
fn refusal(text: &[u8]) -> Vec<u8> {
    let mut payload = (-16_i32).to_ne_bytes().to_vec();
    payload.extend([0; HEADER_LEN]);
    payload.extend(u16::try_from(4 + text.len()).unwrap().to_ne_bytes());
    payload.extend(NLMSGERR_ATTR_MSG.to_ne_bytes());
    payload.extend(text);
    payload
}

#[test]
fn the_extended_acknowledgement_is_read() {
    let error = kernel_error(NLM_F_CAPPED | NLM_F_ACK_TLVS, &refusal(b"busy here\0")).unwrap();
    assert_eq!(
        error,
        KernelError {
            errno: Errno::EBUSY,
            text: Some("busy here".into())
        }
    );
    let error = kernel_error(NLM_F_CAPPED, &refusal(b"ignored\0")).unwrap();
    assert_eq!(error.text, None);
}

#[test]
fn an_acknowledgement_is_no_error() {
    assert_eq!(kernel_error(NLM_F_CAPPED, &[0; 20]), None);
    assert_eq!(kernel_error(0, &[]), None);
}

#[test]
fn a_truncated_answer_is_refused_without_a_crash() {
    let error = refusal(b"busy here\0");
    for length in 0..error.len() {
        let _ = kernel_error(NLM_F_CAPPED | NLM_F_ACK_TLVS, &error[..length]);
    }
    let mut datagram = vec![0; 16];
    datagram[0] = 200;
    assert!(parse(&datagram).is_err());
}

#[test]
fn the_end_of_a_list_may_be_what_says_that_it_was_disturbed() {
    let mut done = vec![0; 20];
    done[0] = 20;
    done[4..6].copy_from_slice(&NLMSG_DONE.to_ne_bytes());
    done[6..8].copy_from_slice(&NLM_F_DUMP_INTR.to_ne_bytes());
    let parts = parse(&done).unwrap();
    assert!(matches!(
        parts[..],
        [Part::Done {
            flags: NLM_F_DUMP_INTR,
            error: None,
            ..
        }]
    ));
}

#[test]
fn the_end_of_a_list_that_was_asked_for_before_ends_no_other() {
    let mut done = vec![0; 20];
    done[0] = 20;
    done[4..6].copy_from_slice(&NLMSG_DONE.to_ne_bytes());
    done[8..12].copy_from_slice(&7_u32.to_ne_bytes());
    assert!(has_end(&done, 7).unwrap());
    assert!(!has_end(&done, 8).unwrap());
}

#[test]
fn a_refusal_of_a_whole_batch_answers_its_first_message() {
    let requests = vec![("create", "rule".to_owned())];
    let sent_requests = SentRequests {
        start: 5,
        requests,
        sent: (4, 3),
    };
    assert!(
        [4, 5, 6]
            .into_iter()
            .all(|sequence| sent_requests.includes(sequence))
    );
    assert!(!sent_requests.includes(3) && !sent_requests.includes(7));
}

#[test]
fn an_error_number_of_no_kernel_is_no_crash() {
    let error = kernel_error(0, &i32::MIN.to_ne_bytes()).unwrap();
    assert_eq!(error.errno, Errno::UnknownErrno);
}

proptest! {
    #[test]
    fn any_datagram_is_read_or_refused(bytes: Vec<u8>) {
        let _ = parse(&bytes);
    }

    /// Valid headers, so that the payloads behind them are parsed.
    #[test]
    fn any_message_is_read(kind in 0_u16..5, flags: u16, payload: Vec<u8>) {
        let length = u32::try_from(HEADER_LEN + payload.len()).unwrap();
        let header = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]];
        let datagram = [header.concat(), payload].concat();
        prop_assert_eq!(parse(&datagram).unwrap().len(), 1);
    }
}
