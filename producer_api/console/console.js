/** The console: shows the page that the address names, and starts the parts that poll the API. */

import { byId } from "./dom.js";
import { closeJob, openJob } from "./job.js";
import { refreshJobs, startJobs } from "./jobs.js";
import { startService } from "./service.js";
import { startForm } from "./submit.js";

function route() {
  const [, id] = location.hash.match(/^#\/jobs\/(.+)$/) ?? [];
  byId("jobs").hidden = Boolean(id);
  byId("job").hidden = !id;
  document.body.classList.toggle("at-job", Boolean(id));
  if (id) {
    openJob(decodeURIComponent(id));
    byId("work").scrollIntoView({ block: "nearest" });
  } else {
    closeJob();
    refreshJobs();
  }
}

window.addEventListener("hashchange", route);
startJobs();
startService();
startForm((job) => (location.hash = `#/jobs/${job.id}`));
route();
