/** Batch or real-time, by four questions; the rules are those of overnight/pricing/advice.py. */

/** Give { verdict, reasons } for answers; what is undefined is not answered. */
export function decide({ waiting, deadlineH, requests, repeats }, { batch_window_h: window, few_requests: few }) {
  if (waiting) return { verdict: "real-time", reasons: ["a person waits for the answer"] };
  if (deadlineH !== undefined && deadlineH < window) {
    const within = `a batch may take ${window} hours, and the results are due in ${deadlineH}`;
    return deadlineH < 1
      ? { verdict: "real-time", reasons: [within] }
      : { verdict: "either", reasons: [`${within}: it may come too late`] };
  }
  if (waiting === undefined && deadlineH === undefined) return { verdict: "open", reasons: [] };
  const reasons = ["nobody waits: half the price, the same quality"];
  if (requests !== undefined && requests < few) reasons.push(`with ${requests} requests the saving is small`);
  if (repeats) reasons.push("it repeats, so the saving does too");
  return { verdict: "batch", reasons };
}
