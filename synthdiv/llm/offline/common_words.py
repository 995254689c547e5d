"""What the offline judge knows about English before it reads anything: how common a word is.

An inverse document frequency needs a large collection; a round holds ten documents. So words that
occur in text of any kind get a fixed small weight here, and every other word the full one. Three
tiers, written down from general knowledge of English:

FUNCTION   words that say how a sentence is built, never what it is about (weight 0);
FREQUENT   words found in text on nearly any subject (weight 0.25);
ORDINARY   words common in most text, which carry a little of the subject (weight 0.55).
"""

FUNCTION = frozenset(
    """
    the and that for this have you not with but are can from there they was what would one all
    about any has will some just out your who which more when only how other than them been does
    also their had then were could even now these should very because his here why many into most
    where those being such too after did same since over still its might off before another while
    our both without however between must him her she hers himself herself itself themselves
    myself yourself ourselves ours yours theirs shall may each every either neither nor though
    although unless until upon within whether whom whose through during against among amongst
    above below under again once further few own doing having am is be do an as at by if in it me
    my no of on or so to up us we he don didn doesn isn wasn weren won wouldn couldn shouldn hasn
    haven hadn aren ain ve ll re it's i'm let lets yes perhaps maybe quite rather almost always
    never ever often sometimes usually already yet thus hence therefore moreover furthermore
    otherwise instead besides despite toward towards across along around near beyond behind beside
    beneath via per etc e.g i.e else anyone someone everyone anything something everything nothing
    nobody somebody everybody anybody none several much little less least enough well like just
    really actually simply probably certainly indeed especially particularly generally mainly
    mostly nearly merely soon later today ago away back down together apart alone aside thereby
    wherein whereby whereas hereby thereof therein whatever whichever whoever whenever wherever
    """.split()
)

FREQUENT = frozenset(
    """
    know get think people time good use way make new see say two want first right need used
    work take find said sure better point last going thing got using things help made read years
    look seems long fact year day days come came give given gives go goes gone went put puts set
    tell told ask asked asks try tried trying keep kept seem feel felt show shown shows showed
    call called calls mean means meant become becomes became different number part parts place
    case cases kind kinds sort example examples reason reasons question questions answer answers
    problem problems idea ideas important possible great small large big high low old young early
    late next best able second three four five six seven eight nine ten hundred thousand million
    man men woman women person world life hand hands home house side end start started begin
    began begins beginning word words name names name line lines left real true false whole half
    full open close closed hard easy easily clear clearly able unable likely unlikely certain
    simple common general particular special similar various single double main major minor
    following follow follows followed include includes included including contain contains
    within provide provides provided consider considered considering suggest suggests describe
    describes described explain explains explained understand understanding understood learn
    learned learning believe thought thinks says saying write writes writing written wrote reading
    article articles post posted posting please thanks thank hello hi dear subject re fwd email
    mail edu com org net www http https html lines organization distribution reply regards
    university apr mar feb jan jun jul aug sep oct nov dec monday tuesday wednesday thursday friday
    saturday sunday january february march april june july august september october november
    december week weeks month months hour hours minute minutes moment times ways lot lots bit
    matter matters nice interesting interested interest care happen happens happened live lived
    living leave leaves bring brings brought hold holds held turn turns turned move moves moved
    let change changes changed run runs running stand stood sit sat talk talked talking talks
    speak speaks spoke hear heard hears listen wonder wondering guess hope hoping wish love liked
    likes hate remember forget forgot agree disagree course however anyway okay ok yeah oh ah
    little text document documents passage passages chapter section sections paragraph page pages
    book books topic topics overview introduction summary conclusion discuss discusses discussed
    """.split()
)

ORDINARY = frozenset(
    """
    system systems group groups information form forms order control level levels state states
    country countries water school schools student students family families child children
    company companies service services business money price prices cost costs pay paid sale buy
    bought sell sold power area areas room door car cars city street road air land light night
    morning evening body head face eye eyes heart mind voice friend friends mother father brother
    sister son daughter boy girl boys girls game games play played plays player story stories
    history law laws government public private national international social political economic
    local human human's natural nature science scientific research study studies studied theory
    theories method methods process processes result results effect effects cause causes caused
    data model models design program programs project projects computer computers software
    machine machines test tests tested type types value values rate rates size sizes amount
    amounts increase increases increased decrease reduce reduced growth develop developed
    development developing create created creates creation build built building buildings produce
    produced production product products material materials support supports supported require
    requires required allow allows allowed issue issues decision decisions choice choices choose
    option options condition conditions situation position action actions activity activities
    experience experiences knowledge skill skills education teacher teachers training practice
    practices rule rules role roles relationship relationships community society culture health
    medical food foods plant plants animal animals energy force forces space earth sun white black
    red blue green color colour free cannot view views term terms concept concepts principle
    principles approach approaches structure structures function functions property properties
    element elements feature features factor factors aspect aspects source sources resource
    resources technique techniques technology technologies tool tools standard standards quality
    performance ability strong weak short wide deep heavy fast slow quick quickly slowly early
    modern ancient century centuries period age ages war wars death dead die died born member
    members team teams leader leaders president office report reports reported news paper papers
    letter letters list lists table figure figures map picture pictures image images word video
    music art film character characters language languages english american america british
    england europe european united kingdom north south east west western eastern northern southern
    """.split()
)

PRIOR_WEIGHT = {
    **dict.fromkeys(ORDINARY, 0.55),
    **dict.fromkeys(FREQUENT, 0.25),
    **dict.fromkeys(FUNCTION, 0.0),
}
